// The tokens of a tokenizer, and which of them merge.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "bpe_train.hpp"
#include "hash.hpp"

namespace onward {

using Rank = std::uint32_t;
inline constexpr Rank kNoRank = ~Rank{0};

// Which pairs of tokens merge, and how early: 8 bytes a pair, so that the merges of a usual
// vocabulary fit the processor's second-level cache.
class MergeTable {
 public:
  static constexpr std::uint32_t kMostTokens = 1 << 21;
  static constexpr std::uint32_t kMostMerges = (1 << 22) - 1;

  explicit MergeTable(std::size_t size);
  // A pair that is there already keeps its rank. Ids are below kMostTokens, ranks below
  // kMostMerges.
  void add(std::uint32_t left, std::uint32_t right, Rank rank);
  Rank rank_of(std::uint32_t left, std::uint32_t right) const {
    const std::uint64_t entry = entries_[place_of(key_of(left, right))];
    return entry == kEmpty ? kNoRank : static_cast<Rank>(entry & kMostMerges);
  }

 private:
  // The two ids and the rank: 21 + 21 + 22 bits.
  static constexpr std::uint64_t kEmpty = ~std::uint64_t{0};
  static std::uint64_t key_of(std::uint32_t left, std::uint32_t right) {
    return std::uint64_t{left} << 21 | right;
  }
  std::size_t place_of(std::uint64_t key) const {
    const std::size_t mask = entries_.size() - 1;
    std::size_t place = mix(key ^ kHashSeed, 0x9E3779B97F4A7C15u) & mask;
    while (entries_[place] >> 22 != key && entries_[place] != kEmpty) place = (place + 1) & mask;
    return place;
  }

  std::vector<std::uint64_t> entries_;
};

// Never changes, so that any number of threads may look into it.
class Vocabulary {
 public:
  // Ids are places in `tokens`; an empty one is an id that is not in use. Merges are in order of
  // rank; all ids are below tokens.size().
  Vocabulary(const std::vector<std::string>& tokens,
             const std::array<std::uint32_t, 256>& id_of_byte, const std::vector<Merge>& merges);

  std::size_t size() const { return places_.size(); }
  std::string_view bytes(std::uint32_t id) const {
    return {bytes_.data() + places_[id].offset, places_[id].length};
  }
  std::size_t length(std::uint32_t id) const { return places_[id].length; }
  // Writes the bytes of the tokens, which are as many as `out` has room for.
  void decode(std::span<const std::uint32_t> ids, std::span<char> out) const;
  std::uint32_t id_of_byte(std::uint8_t byte) const { return id_of_byte_[byte]; }

  // Of two tokens side by side; kNoRank if they do not merge.
  Rank rank_of(std::uint32_t left, std::uint32_t right) const {
    return merges_.rank_of(left, right);
  }
  Rank rank_of_bytes(std::uint8_t left, std::uint8_t right) const {
    return byte_ranks_[left * 256u + right];
  }
  // What the merge of this rank makes.
  std::uint32_t made_by(Rank rank) const { return made_[rank]; }

 private:
  struct Place {
    std::uint32_t offset;
    std::uint32_t length;
  };
  static constexpr std::size_t kSlack = 16;  // so that 16 bytes of any token can be read

  std::string bytes_;
  std::vector<Place> places_;
  std::array<std::uint32_t, 256> id_of_byte_;
  MergeTable merges_;
  std::vector<Rank> byte_ranks_;
  std::vector<std::uint32_t> made_;
};

}  // namespace onward
