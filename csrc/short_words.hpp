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

struct HashedWord {
  WordKey key;
  std::uint64_t hash;
};

// Open addressing with the words themselves in the table, so that a look-up touches one cache line,
// which hash_words() has asked for in advance.
template <class Value>
class ShortWords {
 public:
  // Aligned so that none lies across two cache lines.
  struct alignas(32) Entry {
    WordKey key;  // of length 0: not in use
    Value value{};
  };

  // Of a word too long for this table; equal to no key in it.
  static constexpr WordKey kTooLong{0, ~std::uint64_t{0}};

  explicit ShortWords(std::size_t capacity = 1 << 12) : entries_(capacity) {}

  std::size_t size() const { return size_; }
  std::size_t capacity() const { return entries_.size(); }

  // Hashes the words of `text` from `begin` on that end at `ends`. Valid until the next call.
  const HashedWord* hash_words(std::string_view text, std::size_t begin,
                               std::span<const std::size_t> ends) {
    const auto* const bytes = reinterpret_cast<const std::uint8_t*>(text.data());
    HashedWord* hashed = batch_.data();
    for (const std::size_t end : ends) {
      const std::size_t length = end - begin;
      WordKey key = kTooLong;
      if (length <= WordKey::kLongest) {
        key = text.size() - begin >= 16 ? WordKey::read_16(bytes + begin, length)
                                        : WordKey::read(bytes + begin, length);
      }
      const std::uint64_t hash = key.hash();
      __builtin_prefetch(&first(hash));
      *hashed++ = {key, hash};
      begin = end;
    }
    return batch_.data();
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
  std::array<HashedWord, Pretokenizer::kMostEnds> batch_;
};

}  // namespace onward
