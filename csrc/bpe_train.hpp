// Learns byte-pair merges from counted words (Sennrich, Haddow & Birch, 2016, arXiv:1508.07909).
#pragma once

#include <cstdint>
#include <vector>

#include "word_counts.hpp"

namespace onward {

// Two neighbouring tokens become one. Ids below 256 are bytes, in the order of `kByteOfId`.
struct Merge {
  std::uint32_t left;
  std::uint32_t right;
  std::uint32_t id;
};

// GPT-2's order of the bytes: those that print come first.
std::uint8_t byte_of_base_id(std::uint32_t id);

struct TrainingLimits {
  std::uint32_t tokens;
  std::uint64_t min_frequency = 1;       // of a pair that is merged
  std::uint32_t max_token_length = ~0u;  // in bytes
};

// Merges the most frequent pair, of equally frequent ones that with the smaller ids, as far as the
// limits allow. Fewer tokens than they ask for mean that the text has no more.
std::vector<Merge> train_bpe(const WordCounts& counts, const TrainingLimits& limits);

}  // namespace onward
