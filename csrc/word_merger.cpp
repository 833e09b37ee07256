#include "word_merger.hpp"

#include <algorithm>
#include <functional>
#include <queue>
#include <utility>

namespace onward {

std::span<const std::uint32_t> WordMerger::merge(std::string_view word) {
  if (const auto id = vocabulary_.whole_word(word)) {
    ids_[0] = *id;
    return {ids_.data(), 1};
  }
  const auto* bytes = reinterpret_cast<const std::uint8_t*>(word.data());
  return word.size() <= kMostInBlocks ? merge_in_blocks(bytes, word.size())
                                      : merge_by_queue(bytes, word.size());
}

// Each pair of neighbours is a number: its rank, then its position, so that the least is the pair
// to merge next. They stand in blocks of 16 whose least is kept, so that a merge asks again for two
// or three blocks only, and without a branch that depends on the text.
std::span<const std::uint32_t> WordMerger::merge_in_blocks(const std::uint8_t* bytes,
                                                           std::size_t size) {
  const std::size_t blocks = (size + kBlock - 1) / kBlock;
  for (std::uint32_t i = 0; i < size; ++i) {
    ids_[i] = vocabulary_.id_of_byte(bytes[i]);
    next_[i] = static_cast<std::uint16_t>(i + 1);
    previous_[i + 1] = static_cast<std::uint16_t>(i);
    pairs_[i] = i + 1 < size ? pair(vocabulary_.rank_of_bytes(bytes[i], bytes[i + 1]), i) : kNoPair;
  }
  std::fill(pairs_.begin() + static_cast<std::ptrdiff_t>(size),
            pairs_.begin() + static_cast<std::ptrdiff_t>(blocks * kBlock), kNoPair);
  for (std::size_t block = 0; block < blocks; ++block) update_block(block);

  for (;;) {
    const std::int32_t best =
        *std::min_element(least_.begin(), least_.begin() + static_cast<std::ptrdiff_t>(blocks));
    if (best == kNoPair) break;
    const auto at = static_cast<std::uint32_t>(best) % kMostInBlocks;
    const std::uint32_t gone = next_[at];
    const std::uint32_t after = next_[gone];
    ids_[at] = vocabulary_.made_by(static_cast<std::uint32_t>(best) / kMostInBlocks);
    next_[at] = static_cast<std::uint16_t>(after);
    previous_[after] = static_cast<std::uint16_t>(at);
    pairs_[gone] = kNoPair;
    pairs_[at] = after < size ? pair(vocabulary_.rank_of(ids_[at], ids_[after]), at) : kNoPair;
    if (gone / kBlock != at / kBlock) update_block(gone / kBlock);
    if (at > 0) {
      const std::uint32_t before = previous_[at];
      pairs_[before] = pair(vocabulary_.rank_of(ids_[before], ids_[at]), before);
      if (before / kBlock != at / kBlock) update_block(before / kBlock);
    }
    update_block(at / kBlock);
  }
  std::size_t left = 0;
  for (std::size_t i = 0; i < size; i = next_[i]) ids_[left++] = ids_[i];
  return {ids_.data(), left};
}

void WordMerger::update_block(std::size_t block) {
  const std::int32_t* pairs = pairs_.data() + block * kBlock;
  std::int32_t least[4] = {pairs[0], pairs[1], pairs[2], pairs[3]};
  for (std::size_t i = 4; i < kBlock; i += 4) {
    for (std::size_t k = 0; k < 4; ++k) least[k] = std::min(least[k], pairs[i + k]);
  }
  least_[block] = std::min(std::min(least[0], least[1]), std::min(least[2], least[3]));
}

// The same with a queue, in n log n steps however long the word.
std::span<const std::uint32_t> WordMerger::merge_by_queue(const std::uint8_t* bytes,
                                                          std::size_t size) {
  constexpr std::uint32_t kGone = ~std::uint32_t{0};
  std::vector<std::uint32_t>& ids = many_ids_;
  ids.resize(size);
  std::vector<Rank> ranks(size, kNoRank);  // of each token and the next
  std::vector<std::size_t> previous(size + 1);
  std::vector<std::size_t> next(size);
  std::vector<std::pair<Rank, std::size_t>> candidates;  // and their positions
  for (std::size_t i = 0; i < size; ++i) {
    ids[i] = vocabulary_.id_of_byte(bytes[i]);
    next[i] = i + 1;
    previous[i + 1] = i;
    if (i + 1 < size) ranks[i] = vocabulary_.rank_of_bytes(bytes[i], bytes[i + 1]);
    if (ranks[i] != kNoRank) candidates.emplace_back(ranks[i], i);
  }
  std::priority_queue queue(std::greater<std::pair<Rank, std::size_t>>{}, std::move(candidates));
  const auto look_up = [&](std::size_t at) {
    ranks[at] = next[at] < size ? vocabulary_.rank_of(ids[at], ids[next[at]]) : kNoRank;
    if (ranks[at] != kNoRank) queue.emplace(ranks[at], at);
  };
  while (!queue.empty()) {
    const auto [rank, at] = queue.top();
    queue.pop();
    if (ranks[at] != rank) continue;  // overtaken by another merge
    const std::size_t gone = next[at];
    ids[at] = vocabulary_.made_by(rank);
    ids[gone] = kGone;
    ranks[gone] = kNoRank;
    next[at] = next[gone];
    previous[next[at]] = at;
    look_up(at);
    if (at > 0) look_up(previous[at]);
  }
  std::erase(ids, kGone);
  return ids;
}

}  // namespace onward
