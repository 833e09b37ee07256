#include "bpe_encode.hpp"

#include <algorithm>

namespace onward {
namespace {

// Bounds on what is remembered: 32 MB of short words, 32 MB of long ones, 32 MB of ids.
constexpr std::size_t kMostShortWords = 1 << 19;
constexpr std::size_t kMostLongWords = 1 << 18;
constexpr std::size_t kMostLongBytes = 16 << 20;
constexpr std::size_t kMostIds = 8 << 20;
constexpr std::size_t kLongestRemembered = 512;

}  // namespace

template <class Id>
void Encoder::encode(std::string_view text, Buffer<Id>& out) {
  Pretokenizer words(pattern_, text);
  std::size_t begin = 0;
  for (auto ends = words.next_ends(); !ends.empty(); ends = words.next_ends()) {
    write_ids(text, begin, ends, out);
    begin = ends.back();
  }
}

template <class Id>
void Encoder::write_ids(std::string_view text, std::size_t begin, std::span<const std::size_t> ends,
                        Buffer<Id>& out) {
  hash_words(text, begin, ends, batch_, short_words_, long_words_);
  Id* to = out.room_for(3 * ends.size());
  std::size_t written = 0;
  for (std::size_t i = 0; i < ends.size(); ++i) {
    const HashedWord& word = batch_[i];
    const auto& known = short_words_.first(word.hash);
    if (known.key == word.key && known.value.count <= 3) {
      // Three are written whatever there are: no branch to mispredict.
      for (std::size_t k = 0; k < 3; ++k) to[written + k] = static_cast<Id>(known.value.ids[k]);
      written += known.value.count;
    } else {
      const std::span<const std::uint32_t> ids =
          known.key == word.key ? ids_of(known.value)
                                : rare_ids(text.substr(begin, ends[i] - begin), word);
      out.commit(written);
      to = out.room_for(ids.size() + 3 * (ends.size() - i));
      for (written = 0; written < ids.size(); ++written)
        to[written] = static_cast<Id>(ids[written]);
    }
    begin = ends[i];
  }
  out.commit(written);
}

// The ids of a word that is not where the frequent short words are.
std::span<const std::uint32_t> Encoder::rare_ids(std::string_view word, const HashedWord& hashed) {
  if (hashed.is_short()) {
    if (const Ids* known = short_words_.find(hashed)) return ids_of(*known);
  } else if (const Place* known = long_words_.find(word, hashed.hash)) {
    return {many_ids_.data() + known->offset, known->count};
  }
  const std::span<const std::uint32_t> ids = merger_.merge(word);
  if (word.size() <= kLongestRemembered) remember(word, hashed, ids);
  return ids;
}

void Encoder::remember(std::string_view word, const HashedWord& hashed,
                       std::span<const std::uint32_t> ids) {
  make_room();
  if (!hashed.is_short()) return long_words_.insert(word, hashed.hash, keep(ids));
  Ids value;
  value.count = static_cast<std::uint32_t>(ids.size());
  if (ids.size() <= 3) {
    std::copy(ids.begin(), ids.end(), value.ids);
  } else {
    value.ids[0] = keep(ids).offset;
  }
  short_words_.insert(hashed, value);
}

Encoder::Place Encoder::keep(std::span<const std::uint32_t> ids) {
  const Place place{static_cast<std::uint32_t>(many_ids_.size()),
                    static_cast<std::uint32_t>(ids.size())};
  many_ids_.insert(many_ids_.end(), ids.begin(), ids.end());
  return place;
}

// Where a bound is reached, begins anew: what is met again is soon known again.
void Encoder::make_room() {
  if (short_words_.size() < kMostShortWords && long_words_.size() < kMostLongWords &&
      long_words_.bytes() < kMostLongBytes && many_ids_.size() < kMostIds) {
    return;
  }
  short_words_.clear();
  long_words_.clear();
  many_ids_.clear();
}

template void Encoder::encode(std::string_view, Buffer<std::uint8_t>&);
template void Encoder::encode(std::string_view, Buffer<std::uint16_t>&);
template void Encoder::encode(std::string_view, Buffer<std::uint32_t>&);

}  // namespace onward
