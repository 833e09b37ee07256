// Byte-pair encoding of one word.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "hash.hpp"
#include "vocabulary.hpp"

namespace onward {

// Merges the bytes of a word by rank, of equal ranks the leftmost first.
class WordMerger {
 public:
  explicit WordMerger(const Vocabulary& vocabulary) : vocabulary_(vocabulary) {}
  // Valid until the next call.
  std::span<const std::uint32_t> merge(std::string_view word);

 private:
  std::size_t piece_end(std::string_view word, std::size_t begin) const;
  std::span<const std::uint32_t> ids_of_piece(std::string_view piece);
  std::span<const std::uint32_t> merge_bytes(std::string_view word);
  std::span<const std::uint32_t> merge_in_blocks(const std::uint8_t* bytes, std::size_t size);
  bool merge_in_runs(std::uint8_t byte, std::size_t size);
  Rank rank_after(std::size_t run, std::uint32_t id) const;
  bool halve_run(std::size_t at, Rank rank);
  void join_runs();
  std::span<const std::uint32_t> merge_in_buckets(const std::uint8_t* bytes, std::size_t size);
  Rank merge_at(std::uint32_t position, Rank rank);
  void update_block(std::size_t block);

  static constexpr std::uint32_t kMostInBlocks = 1024;
  static constexpr std::size_t kBlock = 16;
  static constexpr std::int32_t kNoPair = std::numeric_limits<std::int32_t>::max();
  static std::int32_t pair(Rank rank, std::uint32_t position) {
    return rank == kNoRank ? kNoPair : static_cast<std::int32_t>(rank * kMostInBlocks + position);
  }
  static_assert(std::uint64_t{MergeTable::kMostMerges} * kMostInBlocks < kNoPair);

  std::string_view without_missing_bytes(std::string_view word);

  const Vocabulary& vocabulary_;
  std::string kept_;
  // The pieces met last that are up to three tokens, each where its hash says: a new one takes the
  // place of what was there. As the tokens of a piece are the same everywhere, none is ever wrong.
  struct alignas(32) Piece {
    WordKey key;
    std::uint32_t ids[3];
    std::uint32_t count;
  };
  static constexpr std::size_t kPieces = 1 << 12;
  std::vector<Piece> pieces_ = std::vector<Piece>(kPieces);
  std::vector<std::uint32_t> merged_;  // of a word in pieces
  // By position; the last byte of a word has a next one, too.
  std::array<std::uint32_t, kMostInBlocks> ids_;
  std::array<std::uint16_t, kMostInBlocks> next_;
  std::array<std::uint16_t, kMostInBlocks + 1> previous_;
  std::array<std::int32_t, kMostInBlocks> pairs_;
  std::array<std::int32_t, kMostInBlocks / kBlock> least_;  // of each block

  static constexpr std::uint32_t kNone = std::numeric_limits<std::uint32_t>::max();
  // Positions that wait for their rank, each bucket in ascending order when it is its turn.
  class Buckets {
   public:
    void push(Rank rank, std::uint32_t position);
    std::uint32_t pop(Rank rank);
    // The least rank that has a bucket with something in it, of those from 64 * (from / 64) on.
    Rank first(Rank from);
    void reset();

   private:
    struct Bucket {
      Rank rank = 0;
      std::vector<std::uint32_t> positions;
      std::ptrdiff_t next = 0;
      bool sorted = true;
    };
    std::vector<std::uint32_t> bucket_of_;  // by rank; kNone: none yet
    std::vector<std::uint64_t> waiting_;    // a bit for each rank
    std::vector<Bucket> buckets_;
    std::uint32_t used_ = 0;
  };
  struct Run {
    std::uint32_t id;
    std::size_t count;
  };
  std::vector<Run> runs_;
  std::vector<std::uint32_t> slots_;
  Buckets buckets_;
};

}  // namespace onward
