// An open-addressing hash table whose keys are pairs of token ids.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "hash.hpp"

namespace onward {

inline std::uint64_t pair_key(std::uint32_t left, std::uint32_t right) {
  return std::uint64_t{left} << 32 | right;
}

template <class Value>
class PairTable {
 public:
  struct Entry {
    std::uint64_t key = kEmpty;
    Value value{};
  };

  explicit PairTable(std::size_t expected = 0) {
    std::size_t capacity = 16;
    while (capacity < 2 * expected) capacity *= 2;
    entries_.resize(capacity);
  }

  std::size_t size() const { return size_; }

  const Value* find(std::uint64_t key) const {
    const Entry& entry = entries_[place_of(key)];
    return entry.key == key ? &entry.value : nullptr;
  }
  Value* find(std::uint64_t key) {
    Entry& entry = entries_[place_of(key)];
    return entry.key == key ? &entry.value : nullptr;
  }

  // The value of the key, made if it is new. Valid until the next new key.
  Value& operator[](std::uint64_t key) {
    std::size_t place = place_of(key);
    if (entries_[place].key != key) {
      if (2 * (size_ + 1) > entries_.size()) {
        grow();
        place = place_of(key);
      }
      entries_[place].key = key;
      ++size_;
    }
    return entries_[place].value;
  }

  template <class Visit>
  void for_each(Visit&& visit) {
    for (Entry& entry : entries_) {
      if (entry.key != kEmpty) visit(entry.key, entry.value);
    }
  }

 private:
  // No pair of ids: ids stay below 2^32 - 1.
  static constexpr std::uint64_t kEmpty = ~std::uint64_t{0};

  std::size_t place_of(std::uint64_t key) const {
    const std::size_t mask = entries_.size() - 1;
    std::size_t place = mix(key ^ kHashSeed, 0x9E3779B97F4A7C15u) & mask;
    while (entries_[place].key != key && entries_[place].key != kEmpty) place = (place + 1) & mask;
    return place;
  }

  void grow() {
    std::vector<Entry> smaller(entries_.size() * 2);
    smaller.swap(entries_);
    for (Entry& entry : smaller) {
      if (entry.key != kEmpty) entries_[place_of(entry.key)] = std::move(entry);
    }
  }

  std::vector<Entry> entries_;
  std::size_t size_ = 0;
};

}  // namespace onward
