// Counts the distinct words of any amount of text, in memory bounded by the distinct words.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <string_view>
#include <vector>

#include "long_words.hpp"
#include "pretokenize.hpp"
#include "short_words.hpp"

namespace onward {

class WordCounts {
 public:
  struct Word {
    std::string_view bytes;
    std::uint64_t count;
  };

  static constexpr std::size_t kAnyNumber = std::numeric_limits<std::size_t>::max();

  // With more distinct words than `max_words`, the rarer half is dropped.
  explicit WordCounts(SplitPattern pattern, std::size_t max_words = kAnyNumber)
      : pattern_(pattern), max_words_(max_words) {}

  // A text, or as much of one as a safe cut ends.
  void count(std::string_view text);
  // What others have counted.
  void add(const WordCounts& others);

  std::size_t size() const { return short_words_.size() + long_words_.size(); }
  // All words, in no order; valid until more is counted.
  std::vector<Word> words() const;

  // Words that are no longer counted, each as often as it was dropped, and the bytes of text that
  // they stood for.
  std::uint64_t dropped_words() const { return dropped_words_; }
  std::uint64_t dropped_bytes() const { return dropped_bytes_; }

 private:
  void count_rare(std::string_view word, const HashedWord& hashed, std::uint64_t times);
  void drop_rare();

  SplitPattern pattern_;
  std::size_t max_words_;
  std::uint64_t dropped_words_ = 0;
  std::uint64_t dropped_bytes_ = 0;
  ShortWords<std::uint64_t> short_words_;
  LongWords<std::uint64_t> long_words_;
  HashedWords batch_;
};

}  // namespace onward
