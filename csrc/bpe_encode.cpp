#include "bpe_encode.hpp"

#include <cstring>

namespace onward {

namespace {
constexpr std::size_t kMostShortWords = 1 << 19;  // 32 MB, if a text has so many
constexpr std::size_t kLongWords = 1 << 15;
constexpr std::size_t kLongestRemembered = 512;
constexpr std::size_t kLongBytes = 4 << 20;
}  // namespace

Encoder::Encoder(const Vocabulary& vocabulary, SplitPattern pattern)
    : pattern_(pattern), merger_(vocabulary), long_words_(kLongWords) {}

template <class Id>
void Encoder::encode(std::string_view text, IdBuffer<Id>& out) {
  Pretokenizer words(pattern_, text);
  std::size_t begin = 0;
  for (auto ends = words.next_ends(); !ends.empty(); ends = words.next_ends()) {
    write_ids(text, begin, ends, out);
    begin = ends.back();
  }
}

template <class Id>
void Encoder::write_ids(std::string_view text, std::size_t begin, std::span<const std::size_t> ends,
                        IdBuffer<Id>& out) {
  const HashedWord* const words = short_words_.hash_words(text, begin, ends);
  Id* to = out.room_for(3 * ends.size());
  std::size_t written = 0;
  for (std::size_t i = 0; i < ends.size(); ++i) {
    const auto& known = short_words_.first(words[i].hash);
    if (known.key == words[i].key) {
      // Three are written whatever there are: no branch to mispredict.
      for (int k = 0; k < 3; ++k) to[written + k] = static_cast<Id>(known.value.ids[k]);
      written += known.value.count;
    } else {
      out.commit(written);
      encode_rare(text.substr(begin, ends[i] - begin), words[i], out);
      to = out.room_for(3 * (ends.size() - i));
      written = 0;
    }
    begin = ends[i];
  }
  out.commit(written);
}

template <class Id>
void Encoder::encode_rare(std::string_view word, const HashedWord& hashed, IdBuffer<Id>& out) {
  if (word.size() > WordKey::kLongest) return encode_long(word, hash_bytes(word), out);
  if (const FewIds* known = short_words_.find(hashed)) {
    return append(std::span(known->ids, known->count), out);
  }
  const LongWord& known = find_long(word, hashed.hash);
  if (known.length != 0) return append(ids_of(known), out);
  const std::span<const std::uint32_t> ids = merger_.merge(word);
  append(ids, out);
  if (ids.size() > 3) return remember_long(word, hashed.hash, ids);
  remember_short(hashed, ids);
}

void Encoder::remember_short(const HashedWord& word, std::span<const std::uint32_t> ids) {
  // Where there are too many, begin anew: what is met again is soon known again.
  if (short_words_.size() == kMostShortWords) short_words_.clear();
  FewIds few;
  few.count = static_cast<std::uint32_t>(ids.size());
  std::copy(ids.begin(), ids.end(), few.ids);
  short_words_.insert(word, few);
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

}  // namespace onward
