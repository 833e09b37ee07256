#include "bpe_encode.hpp"

#include <cstring>
#include <functional>
#include <numeric>
#include <queue>
#include <stdexcept>
#include <tuple>

namespace onward {

Vocabulary::Vocabulary(std::vector<std::string> tokens,
                       const std::array<std::uint32_t, 256>& id_of_byte,
                       const std::vector<Merge>& merges)
    : tokens_(std::move(tokens)), id_of_byte_(id_of_byte), merges_(merges.size()) {
  const auto check = [&](std::uint32_t id) {
    if (id >= tokens_.size()) throw std::out_of_range("an id beyond the vocabulary");
  };
  for (const std::uint32_t id : id_of_byte_) check(id);
  for (std::uint32_t rank = 0; rank < merges.size(); ++rank) {
    const auto [left, right, id] = merges[rank];
    check(left);
    check(right);
    check(id);
    merges_[pair_key(left, right)] = {rank, id};
  }
}

// ---- WordMerger ----

std::span<const std::uint32_t> WordMerger::merge(std::string_view word) {
  // Scanning for the best merge is quadratic, but with nothing to keep up; the queue is n log n.
  constexpr std::size_t kLongestToScan = 48;
  ids_.clear();
  for (const char byte : word) ids_.push_back(vocabulary_.id_of_byte(byte));
  merges_.clear();
  for (std::size_t i = 0; i + 1 < ids_.size(); ++i) {
    merges_.push_back(vocabulary_.merge_of(ids_[i], ids_[i + 1]));
  }
  if (word.size() <= kLongestToScan) {
    merge_by_scanning();
  } else {
    merge_by_queue();
  }
  return ids_;
}

void WordMerger::merge_by_scanning() {
  while (!merges_.empty()) {
    std::size_t best = 0;
    for (std::size_t i = 1; i < merges_.size(); ++i) {
      if (merges_[i].rank < merges_[best].rank) best = i;
    }
    if (merges_[best].rank == Vocabulary::kNoRank) return;
    ids_[best] = merges_[best].id;
    ids_.erase(ids_.begin() + static_cast<std::ptrdiff_t>(best) + 1);
    merges_.erase(merges_.begin() + static_cast<std::ptrdiff_t>(best));
    if (best < merges_.size()) merges_[best] = vocabulary_.merge_of(ids_[best], ids_[best + 1]);
    if (best > 0) merges_[best - 1] = vocabulary_.merge_of(ids_[best - 1], ids_[best]);
  }
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
  using Candidate = std::pair<std::uint32_t, std::size_t>;  // rank, position
  std::vector<Candidate> candidates;
  for (std::size_t i = 0; i + 1 < size; ++i) {
    if (merges_[i].rank != Vocabulary::kNoRank) candidates.emplace_back(merges_[i].rank, i);
  }
  std::priority_queue<Candidate, std::vector<Candidate>, std::greater<>> queue(
      std::greater<>{}, std::move(candidates));
  const auto look_up = [&](std::size_t at) {
    merges_[at] = vocabulary_.merge_of(ids_[at], ids_[next[at]]);
    if (merges_[at].rank != Vocabulary::kNoRank) queue.emplace(merges_[at].rank, at);
  };
  merges_.emplace_back();  // the last token merges with nothing
  while (!queue.empty()) {
    const auto [rank, at] = queue.top();
    queue.pop();
    if (ids_[at] == kGone || merges_[at].rank != rank) continue;  // overtaken by another merge
    const std::size_t gone = next[at];
    ids_[at] = merges_[at].id;
    ids_[gone] = kGone;
    merges_[at] = {};
    merges_[gone] = {};
    next[at] = next[gone];
    if (next[at] < size) {
      previous[next[at]] = at;
      look_up(at);
    }
    if (at > 0) look_up(previous[at]);
  }
  std::erase(ids_, kGone);
}

// ---- Encoder ----

namespace {
constexpr std::size_t kShortWords = 1 << 16;
constexpr std::size_t kLongWords = 1 << 15;
constexpr std::size_t kLongestRemembered = 512;
constexpr std::size_t kLongBytes = 4 << 20;
}  // namespace

Encoder::Encoder(const Vocabulary& vocabulary, SplitPattern pattern)
    : pattern_(pattern), merger_(vocabulary), short_words_(kShortWords), long_words_(kLongWords) {}

template <class Id>
void Encoder::encode(std::string_view text, IdBuffer<Id>& out) {
  Pretokenizer words(pattern_, text);
  std::size_t begin = 0;
  for (auto ends = words.next_ends(); !ends.empty(); ends = words.next_ends()) {
    for (const std::size_t end : ends) {
      const std::string_view word(text.data() + begin, end - begin);
      const bool can_read_16 = text.size() - begin >= 16;
      begin = end;
      const auto* bytes = reinterpret_cast<const std::uint8_t*>(word.data());
      if (word.size() > 16) {
        encode_long(word, hash_bytes(bytes, word.size()), out);
        continue;
      }
      const Key16 key =
          can_read_16 ? load_key_unchecked(bytes, word.size()) : load_key(bytes, word.size());
      const std::uint64_t hash = hash_key(key, word.size());
      const ShortWord& known = short_words_[hash % kShortWords];
      if (known.key != key || known.length != word.size()) {
        encode_new_short(word, key, hash, out);
        continue;
      }
      // Three are written whatever there are: no branch to mispredict.
      Id* to = out.room_for(3);
      for (int i = 0; i < 3; ++i) to[i] = static_cast<Id>(known.ids[i]);
      out.commit(known.id_count);
    }
  }
}

template <class Id>
void Encoder::encode_new_short(std::string_view word, Key16 key, std::uint64_t hash,
                               IdBuffer<Id>& out) {
  const LongWord& known = find_long(word, hash);
  if (known.length != 0) return append(ids_of(known), out);
  const std::span<const std::uint32_t> ids = merger_.merge(word);
  append(ids, out);
  if (ids.size() > 3) return remember_long(word, hash, ids);
  ShortWord& place = short_words_[hash % kShortWords];
  place = {
      key, {}, static_cast<std::uint16_t>(ids.size()), static_cast<std::uint16_t>(word.size())};
  std::copy(ids.begin(), ids.end(), place.ids);
}

template <class Id>
void Encoder::encode_long(std::string_view word, std::uint64_t hash, IdBuffer<Id>& out) {
  if (word.size() > kLongestRemembered) return append(merger_.merge(word), out);
  const LongWord& known = find_long(word, hash);
  if (known.length != 0) return append(ids_of(known), out);
  const std::span<const std::uint32_t> ids = merger_.merge(word);
  append(ids, out);
  remember_long(word, hash, ids);
}

template <class Id>
void Encoder::append(std::span<const std::uint32_t> ids, IdBuffer<Id>& out) {
  Id* to = out.room_for(ids.size());
  for (const std::uint32_t id : ids) *to++ = static_cast<Id>(id);
  out.commit(ids.size());
}

// The place of the word, or the free place where it belongs.
Encoder::LongWord& Encoder::find_long(std::string_view word, std::uint64_t hash) {
  for (std::size_t at = hash % kLongWords;; at = (at + 1) % kLongWords) {
    LongWord& place = long_words_[at];
    if (place.length == 0) return place;
    if (place.hash == hash && place.length == word.size() &&
        std::memcmp(long_bytes_.data() + place.bytes_at, word.data(), word.size()) == 0) {
      return place;
    }
  }
}

void Encoder::remember_long(std::string_view word, std::uint64_t hash,
                            std::span<const std::uint32_t> ids) {
  if (2 * long_word_count_ >= kLongWords || long_bytes_.size() > kLongBytes) {
    // What is met again is soon known again.
    std::fill(long_words_.begin(), long_words_.end(), LongWord{});
    long_word_count_ = 0;
    long_bytes_.clear();
    long_ids_.clear();
  }
  find_long(word, hash) = {
      hash, static_cast<std::uint32_t>(long_bytes_.size()), static_cast<std::uint32_t>(word.size()),
      static_cast<std::uint32_t>(long_ids_.size()), static_cast<std::uint32_t>(ids.size())};
  ++long_word_count_;
  long_bytes_ += word;
  long_ids_.insert(long_ids_.end(), ids.begin(), ids.end());
}

template void Encoder::encode(std::string_view, IdBuffer<std::uint8_t>&);
template void Encoder::encode(std::string_view, IdBuffer<std::uint16_t>&);
template void Encoder::encode(std::string_view, IdBuffer<std::uint32_t>&);

std::string decode(const Vocabulary& vocabulary, std::span<const std::uint32_t> ids) {
  std::size_t size = 0;
  for (const std::uint32_t id : ids) size += vocabulary.bytes(id).size();
  std::string text;
  text.reserve(size);
  for (const std::uint32_t id : ids) text += vocabulary.bytes(id);
  return text;
}

}  // namespace onward
