// Byte-pair encoding of one word.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <limits>
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
  std::span<const std::uint32_t> merge_in_blocks(const std::uint8_t* bytes, std::size_t size);
  std::span<const std::uint32_t> merge_by_queue(const std::uint8_t* bytes, std::size_t size);
  void update_block(std::size_t block);

  static constexpr std::uint32_t kMostInBlocks = 1024;
  static constexpr std::size_t kBlock = 16;
  static constexpr std::int32_t kNoPair = std::numeric_limits<std::int32_t>::max();
  static std::int32_t pair(Rank rank, std::uint32_t position) {
    return rank == kNoRank ? kNoPair : static_cast<std::int32_t>(rank * kMostInBlocks + position);
  }
  static_assert(std::uint64_t{MergeTable::kMostMerges} * kMostInBlocks < kNoPair);

  const Vocabulary& vocabulary_;
  // By position; the last byte of a word has a next one, too.
  std::array<std::uint32_t, kMostInBlocks> ids_;
  std::array<std::uint16_t, kMostInBlocks> next_;
  std::array<std::uint16_t, kMostInBlocks + 1> previous_;
  std::array<std::int32_t, kMostInBlocks> pairs_;
  std::array<std::int32_t, kMostInBlocks / kBlock> least_;  // of each block
  std::vector<std::uint32_t> many_ids_;
};

}  // namespace onward
