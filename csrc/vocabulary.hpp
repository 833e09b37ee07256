// The tokens of a tokenizer, and which of them merge.
#pragma once

#include <array>
#include <bitset>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "hash.hpp"

namespace onward {

// Two neighbouring tokens become one. Ids below 256 are bytes, in the order of `byte_of_base_id`.
struct Merge {
  std::uint32_t left;
  std::uint32_t right;
  std::uint32_t id;
};

// GPT-2's order of the bytes: those that print come first.
std::uint8_t byte_of_base_id(std::uint32_t id);

using Rank = std::uint32_t;
inline constexpr Rank kNoRank = (1 << 22) - 1;
inline constexpr std::uint32_t kNoToken = ~std::uint32_t{0};

// Which pairs of tokens merge, and how early: 8 bytes a pair, so that the merges of a usual
// vocabulary fit the processor's second-level cache.
class MergeTable {
 public:
  static constexpr std::uint32_t kMostTokens = 1 << 21;
  static constexpr std::uint32_t kMostMerges = (1 << 21) - 1;

  explicit MergeTable(std::size_t size);
  // A pair that is there already keeps its rank. Ids are below kMostTokens, ranks below
  // kMostMerges.
  void add(std::uint32_t left, std::uint32_t right, Rank rank);
  Rank rank_of(std::uint32_t left, std::uint32_t right) const {
    const std::uint64_t key = key_of(left, right);
    for (const Bucket* bucket = first_bucket(key);; bucket = after(bucket)) {
      // No branch tells apart which of the four it is, or whether it is any: that cannot be
      // guessed.
      std::uint64_t found = kEmpty;
      for (const std::uint64_t entry : *bucket) found = entry >> kRankBits == key ? entry : found;
      if (bucket->back() == kEmpty || found != kEmpty) return static_cast<Rank>(found) & kNoRank;
    }
  }

 private:
  // The two ids and the rank: 21 + 21 + 22 bits. A bucket is filled from its front.
  using Bucket = std::array<std::uint64_t, 4>;
  static constexpr std::uint64_t kEmpty = ~std::uint64_t{0};
  static constexpr int kIdBits = 21;
  static constexpr int kRankBits = 22;

  static std::uint64_t key_of(std::uint32_t left, std::uint32_t right) {
    return std::uint64_t{left} << kIdBits | right;
  }
  const Bucket* first_bucket(std::uint64_t key) const {
    return &buckets_[mix(key ^ kHashSeed, 0x9E3779B97F4A7C15u) & (buckets_.size() - 1)];
  }
  const Bucket* after(const Bucket* bucket) const {
    return bucket == &buckets_.back() ? buckets_.data() : bucket + 1;
  }

  std::vector<Bucket> buckets_;
};

// Never changes, so that any number of threads may look into it.
class Vocabulary {
 public:
  // Ids are places in `tokens`; an empty one is an id that is not in use. A byte may be no token
  // (kNoToken). Merges are in order of rank. All other ids are below tokens.size(). A word that is
  // one of the tokens `whole_words` is not merged.
  Vocabulary(const std::vector<std::string>& tokens,
             const std::array<std::uint32_t, 256>& id_of_byte, const std::vector<Merge>& merges,
             const std::vector<std::uint32_t>& whole_words);

  std::size_t size() const { return places_.size(); }
  std::string_view bytes(std::uint32_t id) const {
    return {bytes_.data() + places_[id].offset, places_[id].length};
  }
  std::size_t length(std::uint32_t id) const { return places_[id].length; }
  // How many bytes the tokens have. Throws std::out_of_range where one is none of the vocabulary.
  template <class Id>
  std::size_t decoded_size(std::span<const Id> ids) const;
  // Writes the bytes of the tokens, which must be as many as `out` has room for: else, as where
  // somebody changes the ids meanwhile, throws std::out_of_range.
  template <class Id>
  void decode(std::span<const Id> ids, std::span<char> out) const;
  std::uint32_t id_of_byte(std::uint8_t byte) const { return id_of_byte_[byte]; }
  bool has_every_byte() const { return has_every_byte_; }

  // The token that a whole word is, if the vocabulary has it so.
  std::optional<std::uint32_t> whole_word(std::string_view word) const {
    const auto found = whole_words_.find(word);
    return found == whole_words_.end() ? std::nullopt : std::optional(found->second);
  }
  // Of two tokens side by side; kNoRank if they do not merge.
  Rank rank_of(std::uint32_t left, std::uint32_t right) const {
    return merges_.rank_of(left, right);
  }
  Rank rank_of_bytes(std::uint8_t left, std::uint8_t right) const {
    return byte_ranks_[left * 256u + right];
  }
  // Whether there is a merge of a token that ends with the one byte and a token that begins with
  // the other.
  bool joins(std::uint8_t left, std::uint8_t right) const { return joins_[left * 256u + right]; }
  // The two that the merge of this rank is of, and what it makes.
  std::uint32_t left_of(Rank rank) const { return parts_[rank].first; }
  std::uint32_t right_of(Rank rank) const { return parts_[rank].second; }
  std::uint32_t made_by(Rank rank) const { return made_[rank]; }

 private:
  struct Place {
    std::uint32_t offset;
    std::uint32_t length;
  };

  std::string bytes_;
  std::vector<Place> places_;
  // The short tokens once more, each with its length in one place; for the others, kLong is there.
  static constexpr std::uint64_t kLong = 0xFF;
  std::vector<WordKey> short_tokens_;
  std::array<std::uint32_t, 256> id_of_byte_;
  bool has_every_byte_ = true;
  MergeTable merges_;
  std::vector<Rank> byte_ranks_;
  std::bitset<256 * 256> joins_;
  std::vector<std::uint32_t> made_;  // apart, as it is what merging asks for all the time
  std::vector<std::pair<std::uint32_t, std::uint32_t>> parts_;
  std::unordered_map<std::string_view, std::uint32_t> whole_words_;  // into bytes_
};

// The merges behind a list of tokens by rank, the bytes among them: each token is made of the two
// that its bytes merge to by the tokens of lower rank. Throws UnreachableToken where they are not
// two.
struct UnreachableToken : std::invalid_argument {
  explicit UnreachableToken(std::uint32_t rank);
};
std::vector<Merge> merges_of_ranks(const std::vector<std::string>& tokens);

}  // namespace onward
