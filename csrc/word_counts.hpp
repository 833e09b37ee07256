// Counts the distinct words of any amount of text, in memory bounded by the distinct words.
#pragma once

#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "long_words.hpp"
#include "pretokenize.hpp"
#include "short_words.hpp"

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

  explicit WordCounts(SplitPattern pattern) : pattern_(pattern) {}

  // The next part of a text, cut anywhere. Words never reach from one text into the next. Throws
  // InvalidUtf8; the text is then given up.
  void feed(std::string_view part);
  void end_text();

  std::size_t size() const { return short_words_.size() + long_words_.size(); }
  // All words, in no order; valid until more is fed.
  std::vector<Word> words() const;

 private:
  void count_words(std::string_view text);
  void check_utf8(std::string_view text);
  void count_rare(std::string_view word, const HashedWord& hashed);

  SplitPattern pattern_;
  std::string pending_;              // of the current text, what no safe cut has been found in yet
  std::uint64_t counted_bytes_ = 0;  // of the current text
  ShortWords<std::uint64_t> short_words_;
  LongWords<std::uint64_t> long_words_;
  HashedWords batch_;
};

}  // namespace onward
