// Byte-pair encoding of one word.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "vocabulary.hpp"

namespace onward {

// Merges the bytes of a word by rank, of equal ranks the leftmost first.
class WordMerger {
 public:
  explicit WordMerger(const Vocabulary& vocabulary) : vocabulary_(vocabulary) {}
  // Valid until the next call.
  std::span<const std::uint32_t> merge(std::string_view word);

 private:
  void merge_by_scanning();
  void merge_by_queue();

  const Vocabulary& vocabulary_;
  std::vector<std::uint32_t> ids_;
  std::vector<Rank> ranks_;  // of each token and the next
};

}  // namespace onward
