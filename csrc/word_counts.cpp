#include "word_counts.hpp"

#include <cstdio>
#include <limits>

#include "unicode.hpp"

namespace onward {

namespace {

std::string describe(std::uint8_t wrong_byte, std::uint64_t position) {
  char hex[8];
  std::snprintf(hex, sizeof hex, "0x%02x", wrong_byte);
  return "byte " + std::to_string(position) + " is " + hex + ", which is not UTF-8";
}

}  // namespace

InvalidUtf8::InvalidUtf8(std::uint8_t wrong_byte, std::uint64_t at)
    : std::invalid_argument(describe(wrong_byte, at)), position(at) {}

void WordCounts::feed(std::string_view part) {
  if (pending_.empty()) {
    const std::size_t cut = safe_cut(part);
    count_words(part.substr(0, cut));
    pending_ = part.substr(cut);
    return;
  }
  pending_ += part;
  // Looking again through what had no cut would make long lines quadratic. The few bytes before the
  // new part count as new: whether one can cut there depends on what follows.
  const std::size_t known = pending_.size() - part.size();
  const std::size_t cut = safe_cut(pending_, known > 8 ? known - 8 : 0);
  if (cut == 0) return;
  count_words(std::string_view(pending_).substr(0, cut));
  pending_.erase(0, cut);
}

void WordCounts::end_text() {
  count_words(pending_);
  pending_.clear();
  counted_bytes_ = 0;
}

void WordCounts::check_utf8(std::string_view text) {
  const auto invalid = find_invalid_utf8(text);
  if (!invalid) return;
  const std::uint64_t position = counted_bytes_ + *invalid;
  const auto wrong_byte = static_cast<std::uint8_t>(text[*invalid]);
  pending_.clear();
  counted_bytes_ = 0;
  throw InvalidUtf8(wrong_byte, position);
}

void WordCounts::count_words(std::string_view text) {
  check_utf8(text);
  Pretokenizer words(pattern_, text);
  std::size_t begin = 0;
  for (auto ends = words.next_ends(); !ends.empty(); ends = words.next_ends()) {
    const HashedWord* const hashed = short_words_.hash_words(text, begin, ends);
    for (std::size_t i = 0; i < ends.size(); ++i) {
      auto& known = short_words_.first(hashed[i].hash);
      if (known.key == hashed[i].key) {
        ++known.value;
      } else {
        count_rare(text.substr(begin, ends[i] - begin), hashed[i]);
      }
      begin = ends[i];
    }
  }
  counted_bytes_ += text.size();
}

void WordCounts::count_rare(std::string_view word, const HashedWord& hashed) {
  if (word.size() > WordKey::kLongest) return count_long(word);
  if (std::uint64_t* count = short_words_.find(hashed)) {
    ++*count;
  } else {
    short_words_.insert(hashed, 1);
  }
}

void WordCounts::count_long(std::string_view word) {
  const std::uint64_t hash = hash_bytes(word);
  std::uint32_t& slot = slot_of(word, hash);
  if (slot != 0) {
    ++long_words_[slot - 1].count;
    return;
  }
  if (long_words_.size() + 1 == std::numeric_limits<std::uint32_t>::max()) {
    throw std::length_error("more than 4,294,967,294 distinct long words");
  }
  long_words_.push_back({hash, arena_.size(), word.size(), 1});
  arena_ += word;
  slot = static_cast<std::uint32_t>(long_words_.size());
  if (2 * long_words_.size() <= long_slots_.size()) return;
  long_slots_.assign(2 * long_slots_.size(), 0);
  for (std::uint32_t i = 0; i < long_words_.size(); ++i) {
    slot_of(bytes_of(long_words_[i]), long_words_[i].hash) = i + 1;
  }
}

// The slot of the word, or the free one where it belongs.
std::uint32_t& WordCounts::slot_of(std::string_view word, std::uint64_t hash) {
  const std::size_t mask = long_slots_.size() - 1;
  for (std::size_t at = hash & mask;; at = (at + 1) & mask) {
    std::uint32_t& slot = long_slots_[at];
    if (slot == 0) return slot;
    const LongWord& known = long_words_[slot - 1];
    if (known.hash == hash && bytes_of(known) == word) return slot;
  }
}

std::vector<WordCounts::Word> WordCounts::words() const {
  std::vector<Word> all;
  all.reserve(size());
  short_words_.for_each(
      [&](const WordKey& key, std::uint64_t count) { all.push_back({key.bytes(), count}); });
  for (const LongWord& word : long_words_) all.push_back({bytes_of(word), word.count});
  return all;
}

}  // namespace onward
