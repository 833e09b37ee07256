#include "word_merger.hpp"

#include <algorithm>
#include <bit>
#include <cstring>
#include <stdexcept>
#include <utility>

namespace onward {

std::span<const std::uint32_t> WordMerger::merge(std::string_view word) {
  if (const auto id = vocabulary_.whole_word(word)) {
    ids_[0] = *id;
    return {ids_.data(), 1};
  }
  if (!vocabulary_.has_every_byte()) word = without_missing_bytes(word);
  if (word.empty()) return {};
  std::size_t end = piece_end(word, 0);
  if (end == word.size()) return merge_bytes(word);
  merged_.clear();
  for (std::size_t begin = 0; begin < word.size(); begin = end) {
    end = piece_end(word, begin);
    const auto ids = ids_of_piece(word.substr(begin, end - begin));
    merged_.insert(merged_.end(), ids.begin(), ids.end());
  }
  return merged_;
}

// Where no merge joins two bytes, nothing that happens on one side changes the other: a word falls
// apart there. In GPT-2's vocabulary Chinese and Cyrillic words do after every byte or two, so that
// long words, which are rarely met again, are made of few different pieces.
std::size_t WordMerger::piece_end(std::string_view word, std::size_t begin) const {
  const auto byte = [&](std::size_t i) { return static_cast<std::uint8_t>(word[i]); };
  std::size_t end = begin + 1;
  while (end < word.size() && vocabulary_.joins(byte(end - 1), byte(end))) ++end;
  return end;
}

std::span<const std::uint32_t> WordMerger::ids_of_piece(std::string_view piece) {
  const auto* bytes = reinterpret_cast<const std::uint8_t*>(piece.data());
  if (piece.size() == 1) {
    ids_[0] = vocabulary_.id_of_byte(*bytes);
    return {ids_.data(), 1};
  }
  if (piece.size() > WordKey::kLongest) return merge_bytes(piece);
  const WordKey key = WordKey::read(bytes, piece.size());
  Piece& place = pieces_[key.hash() % kPieces];
  if (!(place.key == key)) {
    const std::span<const std::uint32_t> ids = merge_bytes(piece);
    if (ids.size() > std::size(place.ids)) return ids;
    place.key = key;
    place.count = static_cast<std::uint32_t>(ids.size());
    std::copy(ids.begin(), ids.end(), place.ids);
  }
  return {place.ids, place.count};
}

std::span<const std::uint32_t> WordMerger::merge_bytes(std::string_view word) {
  const auto* bytes = reinterpret_cast<const std::uint8_t*>(word.data());
  if (word.size() <= kMostInBlocks) return merge_in_blocks(bytes, word.size());
  if (std::memcmp(bytes, bytes + 1, word.size() - 1) == 0 && merge_in_runs(*bytes, word.size())) {
    return slots_;
  }
  return merge_in_buckets(bytes, word.size());
}

// A byte that is no token is left out before anything merges, as other libraries do it.
std::string_view WordMerger::without_missing_bytes(std::string_view word) {
  kept_.clear();
  for (const char byte : word) {
    if (vocabulary_.id_of_byte(static_cast<std::uint8_t>(byte)) != kNoToken) kept_ += byte;
  }
  return kept_;
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

// A word of one byte over and over, as blanks and dashes are, is a few runs of equal tokens all the
// way: merging inside a run halves it at once, whatever its length. False where that would not be
// the order of the ranks, or where the runs become many.
bool WordMerger::merge_in_runs(std::uint8_t byte, std::size_t size) {
  constexpr int kMostSteps = 1000;
  runs_.assign(1, {vocabulary_.id_of_byte(byte), size});
  for (int step = 0; step < kMostSteps; ++step) {
    Rank best = kNoRank;
    std::size_t at = 0;
    bool inside = false;
    for (std::size_t i = 0; i < runs_.size(); ++i) {
      const Rank same =
          runs_[i].count > 1 ? vocabulary_.rank_of(runs_[i].id, runs_[i].id) : kNoRank;
      if (same < best) best = same, at = i, inside = true;
      const Rank next = rank_after(i, runs_[i].id);
      if (next < best) best = next, at = i, inside = false;
    }
    if (best == kNoRank) {
      slots_.clear();
      for (const auto& [id, count] : runs_) slots_.insert(slots_.end(), count, id);
      return true;
    }
    if (inside) {
      if (!halve_run(at, best)) return false;
    } else {
      --runs_[at].count;
      --runs_[at + 1].count;
      runs_.insert(runs_.begin() + static_cast<std::ptrdiff_t>(at) + 1,
                   {vocabulary_.made_by(best), 1});
    }
    join_runs();
  }
  return false;
}

// Of this token and the one after the run; kNoRank if they do not merge.
Rank WordMerger::rank_after(std::size_t run, std::uint32_t id) const {
  return run + 1 < runs_.size() ? vocabulary_.rank_of(id, runs_[run + 1].id) : kNoRank;
}

// False if a pair that is made on the way would have to merge before the rest of the run does.
bool WordMerger::halve_run(std::size_t at, Rank rank) {
  const Run run = runs_[at];
  const std::uint32_t made = vocabulary_.made_by(rank);
  const Rank before = at > 0 ? vocabulary_.rank_of(runs_[at - 1].id, made) : kNoRank;
  const Rank beside = vocabulary_.rank_of(made, made);
  if (std::min({before, beside, vocabulary_.rank_of(made, run.id)}) <= rank) return false;
  runs_[at] = {made, run.count / 2};
  runs_.insert(runs_.begin() + static_cast<std::ptrdiff_t>(at) + 1, {run.id, run.count % 2});
  return true;
}

// Takes out empty runs, and makes one of two that are of the same token.
void WordMerger::join_runs() {
  std::size_t kept = 0;
  for (const Run& run : runs_) {
    if (run.count == 0) continue;
    if (kept > 0 && runs_[kept - 1].id == run.id) {
      runs_[kept - 1].count += run.count;
    } else {
      runs_[kept++] = run;
    }
  }
  runs_.resize(kept);
}

// A long word is merged rank by rank: the positions of each rank wait in a bucket. Merging makes
// new pairs, nearly always of higher ranks, whose positions go to their buckets; so that each merge
// takes the same time, however long the word. The tokens lie in slots as in training
// (bpe_train.cpp): in the first and the last slot of their bytes.
std::span<const std::uint32_t> WordMerger::merge_in_buckets(const std::uint8_t* bytes,
                                                            std::size_t size) {
  if (size >= kNone) throw std::length_error("a word of more than 4,294,967,294 bytes");
  slots_.assign(size + 2, kNone);
  for (std::size_t i = 0; i < size; ++i) slots_[i + 1] = vocabulary_.id_of_byte(bytes[i]);
  for (std::uint32_t i = 1; i < size; ++i) {
    const Rank rank = vocabulary_.rank_of_bytes(bytes[i - 1], bytes[i]);
    if (rank != kNoRank) buckets_.push(rank, i);
  }
  for (Rank rank = buckets_.first(0); rank != kNoRank;) {
    const std::uint32_t position = buckets_.pop(rank);
    if (position == kNone) {
      rank = buckets_.first(rank);
    } else if (const Rank lower = merge_at(position, rank); lower <= rank) {
      rank = lower;  // the rest of this bucket waits
    }
  }
  buckets_.reset();
  std::size_t left = 0;
  for (std::size_t at = 1; at <= size; at += vocabulary_.length(slots_[at])) {
    slots_[left++] = slots_[at];
  }
  return {slots_.data(), left};
}

// Merges the pair at the position, if it still is there. Returns the least rank of a new pair.
Rank WordMerger::merge_at(std::uint32_t position, Rank rank) {
  const std::uint32_t left = vocabulary_.left_of(rank);
  const std::uint32_t right = vocabulary_.right_of(rank);
  if (slots_[position] != left) return kNoRank;
  const auto middle = static_cast<std::uint32_t>(position + vocabulary_.length(left));
  if (slots_[middle] != right) return kNoRank;
  const auto end = static_cast<std::uint32_t>(middle + vocabulary_.length(right));
  const std::uint32_t made = vocabulary_.made_by(rank);
  slots_[middle - 1] = slots_[middle] = kNone;
  slots_[position] = slots_[end - 1] = made;

  Rank least = kNoRank;
  const auto look_up = [&](std::uint32_t first, std::uint32_t second, std::uint32_t at) {
    const Rank found = vocabulary_.rank_of(first, second);
    if (found != kNoRank) buckets_.push(found, at);
    least = std::min(least, found);
  };
  if (const std::uint32_t before = slots_[position - 1]; before != kNone) {
    look_up(before, made, static_cast<std::uint32_t>(position - vocabulary_.length(before)));
  }
  if (const std::uint32_t after = slots_[end]; after != kNone) look_up(made, after, position);
  return least;
}

void WordMerger::Buckets::push(Rank rank, std::uint32_t position) {
  if (rank >= bucket_of_.size()) {
    bucket_of_.resize(rank + 1, kNone);
    waiting_.resize(rank / 64 + 1, 0);
  }
  if (bucket_of_[rank] == kNone) {
    bucket_of_[rank] = used_++;
    if (used_ > buckets_.size()) buckets_.emplace_back();
    buckets_[bucket_of_[rank]].rank = rank;
  }
  Bucket& bucket = buckets_[bucket_of_[rank]];
  bucket.sorted = bucket.sorted && (bucket.positions.empty() || bucket.positions.back() < position);
  bucket.positions.push_back(position);
  waiting_[rank / 64] |= std::uint64_t{1} << rank % 64;
}

// The leftmost position that waits; kNone once there is none.
std::uint32_t WordMerger::Buckets::pop(Rank rank) {
  Bucket& bucket = buckets_[bucket_of_[rank]];
  if (bucket.next == std::ssize(bucket.positions)) {
    bucket.positions.clear();
    bucket.next = 0;
    bucket.sorted = true;
    waiting_[rank / 64] &= ~(std::uint64_t{1} << rank % 64);
    return kNone;
  }
  if (!bucket.sorted) {
    std::sort(bucket.positions.begin() + bucket.next, bucket.positions.end());
    bucket.sorted = true;
  }
  return bucket.positions[static_cast<std::size_t>(bucket.next++)];
}

// After a word: all buckets are empty; their room is kept, as far as it is little.
void WordMerger::Buckets::reset() {
  constexpr std::size_t kRoomToKeep = 1 << 20;
  std::size_t room = 0;
  for (const Bucket& bucket : buckets_) room += bucket.positions.capacity();
  for (std::uint32_t i = 0; i < used_; ++i) bucket_of_[buckets_[i].rank] = kNone;
  used_ = 0;
  if (room > kRoomToKeep) buckets_.clear();
}

Rank WordMerger::Buckets::first(Rank from) {
  for (std::size_t i = from / 64; i < waiting_.size(); ++i) {
    if (waiting_[i] != 0)
      return static_cast<Rank>(i * 64) + static_cast<Rank>(std::countr_zero(waiting_[i]));
  }
  return kNoRank;
}

}  // namespace onward
