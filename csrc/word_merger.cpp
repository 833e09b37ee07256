#include "word_merger.hpp"

#include <functional>
#include <queue>
#include <utility>

namespace onward {

std::span<const std::uint32_t> WordMerger::merge(std::string_view word) {
  // Scanning for the best merge is quadratic, but with nothing to keep up; the queue is n log n.
  constexpr std::size_t kLongestToScan = 48;
  const auto* bytes = reinterpret_cast<const std::uint8_t*>(word.data());
  ids_.resize(word.size());
  ranks_.resize(word.size());
  for (std::size_t i = 0; i < word.size(); ++i) ids_[i] = vocabulary_.id_of_byte(bytes[i]);
  for (std::size_t i = 0; i + 1 < word.size(); ++i) {
    ranks_[i] = vocabulary_.rank_of_bytes(bytes[i], bytes[i + 1]);
  }
  ranks_.back() = kNoRank;  // the last token merges with nothing
  if (word.size() <= kLongestToScan) {
    merge_by_scanning();
  } else {
    merge_by_queue();
  }
  return ids_;
}

void WordMerger::merge_by_scanning() {
  std::uint32_t* const ids = ids_.data();
  Rank* const ranks = ranks_.data();
  std::size_t size = ids_.size();
  for (;;) {
    std::size_t best = 0;
    for (std::size_t i = 1; i < size; ++i) {
      if (ranks[i] < ranks[best]) best = i;
    }
    if (ranks[best] == kNoRank) break;
    ids[best] = vocabulary_.made_by(ranks[best]);
    --size;
    for (std::size_t i = best + 1; i < size; ++i) {
      ids[i] = ids[i + 1];
      ranks[i] = ranks[i + 1];
    }
    ranks[best] = best + 1 < size ? vocabulary_.rank_of(ids[best], ids[best + 1]) : kNoRank;
    if (best > 0) ranks[best - 1] = vocabulary_.rank_of(ids[best - 1], ids[best]);
  }
  ids_.resize(size);
}

void WordMerger::merge_by_queue() {
  constexpr std::uint32_t kGone = ~std::uint32_t{0};
  const std::size_t size = ids_.size();
  std::vector<std::size_t> previous(size);
  std::vector<std::size_t> next(size);
  for (std::size_t i = 0; i < size; ++i) {
    previous[i] = i - 1;  // of the first: never looked at
    next[i] = i + 1;
  }
  using Candidate = std::pair<Rank, std::size_t>;  // and its position
  std::vector<Candidate> candidates;
  for (std::size_t i = 0; i < size; ++i) {
    if (ranks_[i] != kNoRank) candidates.emplace_back(ranks_[i], i);
  }
  std::priority_queue queue(std::greater<Candidate>{}, std::move(candidates));
  const auto look_up = [&](std::size_t at) {
    ranks_[at] = vocabulary_.rank_of(ids_[at], ids_[next[at]]);
    if (ranks_[at] != kNoRank) queue.emplace(ranks_[at], at);
  };
  while (!queue.empty()) {
    const auto [rank, at] = queue.top();
    queue.pop();
    if (ranks_[at] != rank) continue;  // overtaken by another merge
    const std::size_t gone = next[at];
    ids_[at] = vocabulary_.made_by(rank);
    ids_[gone] = kGone;
    ranks_[at] = ranks_[gone] = kNoRank;
    next[at] = next[gone];
    if (next[at] < size) {
      previous[next[at]] = at;
      look_up(at);
    }
    if (at > 0) look_up(previous[at]);
  }
  std::erase(ids_, kGone);
}

}  // namespace onward
