// A hash table of short words, for loops that look up every word of a text.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "hash.hpp"
#include "pretokenize.hpp"

namespace onward {

// A word's hash, with its key if it is short.
struct HashedWord {
  static constexpr WordKey kTooLong{0, ~std::uint64_t{0}};  // equal to no word's key

  WordKey key;
  std::uint64_t hash;

  bool is_short() const { return !(key == kTooLong); }
};

inline HashedWord hash_word(std::string_view word) {
  if (word.size() > WordKey::kLongest) return {HashedWord::kTooLong, hash_bytes(word)};
  const auto key = WordKey::read(reinterpret_cast<const std::uint8_t*>(word.data()), word.size());
  return {key, key.hash()};
}

using HashedWords = std::array<HashedWord, Pretokenizer::kMostEnds>;

// Hashes the words of `text` from `begin` on that end at `ends`, and has the tables fetch them: all
// before any is looked up, so that memory has time to deliver.
template <class Short, class Long>
void hash_words(std::string_view text, std::size_t begin, std::span<const std::size_t> ends,
                HashedWords& hashed, const Short& short_words, const Long& long_words) {
  const auto* const bytes = reinterpret_cast<const std::uint8_t*>(text.data());
  HashedWord* next = hashed.data();
  for (const std::size_t end : ends) {
    const std::size_t length = end - begin;
    if (length <= WordKey::kLongest) {
      const WordKey key = text.size() - begin >= 16 ? WordKey::read_16(bytes + begin, length)
                                                    : WordKey::read(bytes + begin, length);
      *next = {key, key.hash()};
      short_words.prefetch(next->hash);
    } else {
      *next = {HashedWord::kTooLong, hash_bytes(text.substr(begin, length))};
      long_words.prefetch(next->hash);
    }
    ++next;
    begin = end;
  }
}

// Open addressing with the words themselves in the table: a look-up touches one cache line.
template <class Value>
class ShortWords {
 public:
  // Aligned so that none lies across two cache lines.
  struct alignas(32) Entry {
    WordKey key;  // of length 0: not in use
    Value value{};
  };

  ShortWords() : entries_(1 << 12) {}

  std::size_t size() const { return size_; }

  void prefetch(std::uint64_t hash) const {
    __builtin_prefetch(&entries_[hash & (entries_.size() - 1)]);
  }

  // Where a frequent word with this hash is; another one may be there.
  Entry& first(std::uint64_t hash) { return entries_[hash & (entries_.size() - 1)]; }

  // The value of the word, or nullptr. Moves it to the first place: what is met often is found at
  // once.
  Value* find(const HashedWord& word) {
    Entry& found = place_of(word);
    if (!(found.key == word.key)) return nullptr;
    Entry& place = first(word.hash);
    std::swap(found, place);
    return &place.value;
  }

  // A word that is not there yet.
  void insert(const HashedWord& word, const Value& value) {
    if (2 * (size_ + 1) > entries_.size()) grow();
    place_of(word) = {word.key, value};
    ++size_;
  }

  void clear() {
    entries_.assign(entries_.size(), Entry{});
    size_ = 0;
  }

  template <class Visit>
  void for_each(Visit&& visit) const {
    for (const Entry& entry : entries_) {
      if (entry.key.length() != 0) visit(entry.key, entry.value);
    }
  }

 private:
  // The place of the word, or the free place where it belongs.
  Entry& place_of(const HashedWord& word) {
    const std::size_t mask = entries_.size() - 1;
    for (std::size_t at = word.hash & mask;; at = (at + 1) & mask) {
      Entry& entry = entries_[at];
      if (entry.key == word.key || entry.key.length() == 0) return entry;
    }
  }

  void grow() {
    std::vector<Entry> smaller(entries_.size() * 2);
    smaller.swap(entries_);
    for (const Entry& entry : smaller) {
      if (entry.key.length() != 0) place_of({entry.key, entry.key.hash()}) = entry;
    }
  }

  std::vector<Entry> entries_;
  std::size_t size_ = 0;
};

}  // namespace onward
