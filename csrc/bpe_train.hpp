// Learns byte-pair merges from counted words (Sennrich, Haddow & Birch, 2016, arXiv:1508.07909).
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "vocabulary.hpp"
#include "word_counts.hpp"

namespace onward {

struct TrainingLimits {
  std::uint32_t tokens;                  // those of the base among them
  std::uint64_t min_frequency = 1;       // of a pair that is merged
  std::uint32_t max_token_length = ~0u;  // in bytes
  std::vector<std::string> taken;        // bytes that no merge may make
};

// Is told now and then how many tokens there are; may throw to give up.
using TrainingWatch = std::function<void(std::size_t)>;

// Begins with the words as the base encodes them. Merges the most frequent pair, of equally
// frequent ones that with the smaller ids, as far as the limits allow; the tokens that are made
// follow those of the base. No merge makes the bytes of a token that the base has. Fewer tokens
// than asked for mean that the text has no more.
std::vector<Merge> train_bpe(const WordCounts& counts, const Vocabulary& base,
                             const TrainingLimits& limits, const TrainingWatch& watch = {});

}  // namespace onward
