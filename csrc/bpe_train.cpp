#include "bpe_train.hpp"

#include <algorithm>
#include <limits>
#include <queue>
#include <stdexcept>
#include <string_view>
#include <unordered_set>
#include <utility>

#include "pair_table.hpp"
#include "word_merger.hpp"

namespace onward {
namespace {

constexpr std::uint32_t kNone = std::numeric_limits<std::uint32_t>::max();
constexpr std::size_t kMergesBetweenLooks = 64;

// The positions of one pair, ascending, and how often it occurs in the text.
struct Occurrences {
  std::uint64_t count = 0;
  std::vector<std::uint32_t> positions;
};

struct Candidate {
  std::uint64_t count;
  std::uint64_t pair;
  bool operator<(const Candidate& other) const {
    return count != other.count ? count < other.count : pair > other.pair;
  }
};

// How often a token stands on one side of what is being merged, and where.
struct Neighbour {
  std::uint64_t count = 0;
  std::vector<std::uint32_t> positions;
};

class Neighbours {
 public:
  void add(std::uint32_t token, std::uint64_t count, std::uint32_t position) {
    if (token >= by_token_.size()) by_token_.resize(token + 1);
    Neighbour& neighbour = by_token_[token];
    if (neighbour.positions.empty()) seen_.push_back(token);
    neighbour.count += count;
    neighbour.positions.push_back(position);
  }

  // Hands over every neighbour, and forgets it.
  template <class Visit>
  void drain(Visit&& visit) {
    for (const std::uint32_t token : seen_) {
      visit(token, by_token_[token]);
      by_token_[token].count = 0;
      by_token_[token].positions.clear();
    }
    seen_.clear();
  }

 private:
  std::vector<Neighbour> by_token_;
  std::vector<std::uint32_t> seen_;
};

// All distinct words lie one after the other in `symbols_`, a slot for each byte and kNone between
// words. A token of several bytes has its id in its first and its last slot and kNone in those
// between, so that both neighbours of any position are found without links, and a position that is
// remembered for a pair either still holds it or visibly does not.
//
// No two merges make the same bytes: what stretch of text has become which tokens depends on
// nothing but its bytes, so where one merge would make them, the other has made them before. Hence
// the count of a pair is never larger than when the younger of its tokens was made, and only pairs
// that occur at least `threshold_` times are indexed; once none is left, the threshold is lowered
// and the index rebuilt from `symbols_`. That keeps the long tail of rare pairs out of memory.
class Trainer {
 public:
  Trainer(const WordCounts& counts, const Vocabulary& base, const TrainingLimits& limits);
  std::vector<Merge> run(const TrainingWatch& watch);

 private:
  // Slots up to `end` belong to words that occur `count` times.
  struct CountClass {
    std::size_t end;
    std::uint64_t count;
  };
  // Tells counts at ascending positions.
  class CountCursor {
   public:
    explicit CountCursor(const std::vector<CountClass>& classes)
        : at_(classes.begin()), end_(classes.end()) {}
    std::uint64_t count_at(std::size_t position) {
      if (position >= at_->end) {
        at_ = std::upper_bound(at_, end_, position,
                               [](std::size_t p, const CountClass& c) { return p < c.end; });
      }
      return at_->count;
    }

   private:
    std::vector<CountClass>::const_iterator at_;
    std::vector<CountClass>::const_iterator end_;
  };

  template <class Visit>
  void for_each_pair(Visit&& visit) const;
  bool rebuild_index();
  bool pop_best(Candidate& best);
  void replace(Merge merge, const std::vector<std::uint32_t>& positions);
  void update_index(Merge merge);
  void lower(std::uint64_t pair, std::uint64_t count);
  void index(std::uint64_t pair, const Neighbour& neighbour);

  bool may_merge(std::uint32_t left, std::uint32_t right) const {
    return lengths_[left] + lengths_[right] <= limits_.max_token_length;
  }

  bool is_taken(Merge merge) const;
  std::string bytes_of(std::uint32_t id) const;

  const Vocabulary& base_;
  const TrainingLimits& limits_;
  std::unordered_set<std::string_view> taken_;
  std::size_t longest_taken_ = 0;
  std::vector<Merge> merges_;
  std::vector<std::uint32_t> symbols_;
  std::vector<CountClass> count_classes_;
  std::vector<std::uint32_t> lengths_;  // of each token, in bytes
  std::uint64_t threshold_ = std::numeric_limits<std::uint64_t>::max();
  PairTable<Occurrences> occurrences_;
  std::priority_queue<Candidate> queue_;
  Neighbours left_of_;
  Neighbours right_of_;
};

Trainer::Trainer(const WordCounts& counts, const Vocabulary& base, const TrainingLimits& limits)
    : base_(base), limits_(limits) {
  for (std::uint32_t id = 0; id < base.size(); ++id) {
    lengths_.push_back(static_cast<std::uint32_t>(base.length(id)));
    taken_.emplace(base.bytes(id));
  }
  taken_.insert(limits_.taken.begin(), limits_.taken.end());
  for (const std::string_view bytes : taken_) {
    longest_taken_ = std::max(longest_taken_, bytes.size());
  }

  std::vector<WordCounts::Word> words = counts.words();
  std::sort(words.begin(), words.end(),
            [](const auto& a, const auto& b) { return a.count > b.count; });
  std::size_t slots = 1;
  for (const auto& word : words) slots += word.bytes.size() + 1;
  if (slots >= kNone) {
    throw std::length_error("the distinct words of the text have more than 4,294,967,294 bytes");
  }
  symbols_.assign(slots, kNone);
  WordMerger merger(base);
  std::size_t at = 1;
  for (const auto& [bytes, count] : words) {
    for (const std::uint32_t id : merger.merge(bytes)) {
      symbols_[at] = symbols_[at + lengths_[id] - 1] = id;
      at += lengths_[id];
    }
    ++at;
    if (count_classes_.empty() || count_classes_.back().count != count) {
      count_classes_.push_back({0, count});
    }
    count_classes_.back().end = at;
  }
}

// Visits (pair, position, count) of every two neighbouring tokens, by ascending position.
template <class Visit>
void Trainer::for_each_pair(Visit&& visit) const {
  CountCursor counts(count_classes_);
  for (std::size_t at = 1; at < symbols_.size(); ++at) {  // past the kNone before a word
    while (symbols_[at] != kNone) {
      const std::size_t next = at + lengths_[symbols_[at]];
      if (symbols_[next] != kNone && may_merge(symbols_[at], symbols_[next])) {
        visit(pair_key(symbols_[at], symbols_[next]), static_cast<std::uint32_t>(at),
              counts.count_at(at));
      }
      at = next;
    }
  }
}

// Indexes the pairs that are worth it. False if there is no pair at all.
bool Trainer::rebuild_index() {
  PairTable<std::uint64_t> counts;
  for_each_pair(
      [&](std::uint64_t pair, std::uint32_t, std::uint64_t count) { counts[pair] += count; });
  std::uint64_t most = 0;
  counts.for_each([&](std::uint64_t, std::uint64_t count) { most = std::max(most, count); });
  // The next 16th of the way down: few enough pairs to stay small, few enough steps to stay quick.
  threshold_ = std::min(threshold_, std::max(most / 16, limits_.min_frequency));
  occurrences_ = PairTable<Occurrences>();
  queue_ = {};
  counts.for_each([&](std::uint64_t pair, std::uint64_t count) {
    if (count < threshold_) return;
    occurrences_[pair].count = count;
    queue_.push({count, pair});
  });
  for_each_pair([&](std::uint64_t pair, std::uint32_t position, std::uint64_t) {
    if (Occurrences* found = occurrences_.find(pair)) found->positions.push_back(position);
  });
  return most >= limits_.min_frequency;
}

// Takes the most frequent pair off the queue, whose counts may have gone down since they were put
// in.
bool Trainer::pop_best(Candidate& best) {
  for (;;) {
    if (queue_.empty()) {
      if (threshold_ <= limits_.min_frequency) return false;
      --threshold_;
      if (!rebuild_index()) return false;
      continue;
    }
    best = queue_.top();
    queue_.pop();
    const std::uint64_t count = occurrences_.find(best.pair)->count;
    if (count == best.count) return true;
    if (count >= threshold_) queue_.push({count, best.pair});
  }
}

std::vector<Merge> Trainer::run(const TrainingWatch& watch) {
  Candidate best;
  while (lengths_.size() < limits_.tokens && pop_best(best)) {
    const Merge merge{static_cast<std::uint32_t>(best.pair >> 32),
                      static_cast<std::uint32_t>(best.pair),
                      static_cast<std::uint32_t>(lengths_.size())};
    if (is_taken(merge)) continue;
    merges_.push_back(merge);
    lengths_.push_back(lengths_[merge.left] + lengths_[merge.right]);
    replace(merge, std::exchange(occurrences_[best.pair].positions, {}));
    update_index(merge);
    if (watch && merges_.size() % kMergesBetweenLooks == 0) watch(lengths_.size());
  }
  return std::move(merges_);
}

// A pair off the queue comes again only after the index was rebuilt; if it is taken, in vain again.
bool Trainer::is_taken(Merge merge) const {
  if (lengths_[merge.left] + lengths_[merge.right] > longest_taken_) return false;
  return taken_.contains(bytes_of(merge.left) + bytes_of(merge.right));
}

std::string Trainer::bytes_of(std::uint32_t id) const {
  if (id < base_.size()) return std::string(base_.bytes(id));
  const Merge& made = merges_[id - base_.size()];
  return bytes_of(made.left) + bytes_of(made.right);
}

// Writes the new token wherever the pair still stands, and notes what stands beside it.
void Trainer::replace(Merge merge, const std::vector<std::uint32_t>& positions) {
  const auto [left, right, id] = merge;
  const std::uint32_t left_length = lengths_[left];
  const std::uint32_t length = left_length + lengths_[right];
  CountCursor counts(count_classes_);
  for (const std::uint32_t begin : positions) {
    const std::uint32_t middle = begin + left_length;
    if (symbols_[begin] != left || symbols_[middle] != right) continue;
    symbols_[middle - 1] = symbols_[middle] = kNone;
    symbols_[begin] = symbols_[begin + length - 1] = id;

    const std::uint64_t count = counts.count_at(begin);
    const std::uint32_t before = symbols_[begin - 1];
    const std::uint32_t after = symbols_[begin + length];
    if (before != kNone) left_of_.add(before, count, begin - lengths_[before]);
    if (after != kNone) right_of_.add(after, count, begin);
  }
}

// The pairs (x, left) have become (x, id), and (right, y) have become (id, y).
void Trainer::update_index(Merge merge) {
  right_of_.drain([&](std::uint32_t after, const Neighbour& neighbour) {
    lower(pair_key(merge.right, after), neighbour.count);
    if (may_merge(merge.id, after)) index(pair_key(merge.id, after), neighbour);
  });
  left_of_.drain([&](std::uint32_t before, const Neighbour& neighbour) {
    lower(pair_key(before, merge.left), neighbour.count);
    if (may_merge(before, merge.id)) index(pair_key(before, merge.id), neighbour);
  });
}

void Trainer::lower(std::uint64_t pair, std::uint64_t count) {
  if (Occurrences* found = occurrences_.find(pair)) found->count -= count;
}

void Trainer::index(std::uint64_t pair, const Neighbour& neighbour) {
  if (neighbour.count < threshold_) return;
  occurrences_[pair] = {neighbour.count, neighbour.positions};
  queue_.push({neighbour.count, pair});
}

}  // namespace

std::vector<Merge> train_bpe(const WordCounts& counts, const Vocabulary& base,
                             const TrainingLimits& limits, const TrainingWatch& watch) {
  return Trainer(counts, base, limits).run(watch);
}

}  // namespace onward
