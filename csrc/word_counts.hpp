// Counts the distinct words of any amount of text, in memory bounded by the distinct words.
#pragma once

#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "hash.hpp"
#include "pretokenize.hpp"

namespace onward {

// A text that is not UTF-8; `position` is that of the first wrong byte in it.
struct InvalidUtf8 : std::invalid_argument {
  InvalidUtf8(std::uint8_t wrong_byte, std::uint64_t at);
  std::uint64_t position;
};

class WordCounts {
 public:
  struct Word {
    std::string_view bytes;
    std::uint64_t count;
  };

  explicit WordCounts(SplitPattern pattern);

  // The next part of a text, cut anywhere. Words never reach from one text into the next. Throws
  // InvalidUtf8; the text is then given up.
  void feed(std::string_view part);
  void end_text();

  std::size_t size() const { return entries_.size(); }
  Word operator[](std::size_t index) const {
    const Entry& entry = entries_[index];
    return {std::string_view(arena_).substr(entry.offset, entry.length), entry.count};
  }

 private:
  struct Entry {
    std::uint64_t offset;  // of its bytes in the arena
    std::uint64_t count;
    std::uint64_t length;
  };
  // Where an entry is, found by the top half of its hash; entry 0 is "none", so indices are + 1.
  struct Slot {
    std::uint32_t tag = 0;
    std::uint32_t entry = 0;
  };

  void count_words(std::string_view text);
  void check_utf8(std::string_view text);
  void add(std::uint64_t hash, std::string_view word, std::uint64_t count);
  void grow();

  SplitPattern pattern_;
  std::string pending_;              // of the current text, what no safe cut has been found in yet
  std::uint64_t counted_bytes_ = 0;  // of the current text
  std::string arena_;
  std::vector<Entry> entries_;
  std::vector<Slot> slots_;
};

}  // namespace onward
