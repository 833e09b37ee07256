// A hash table of words of any length.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "hash.hpp"

namespace onward {

template <class Value>
class LongWords {
 public:
  LongWords() : entries_(1 << 8) {}

  std::size_t size() const { return size_; }
  // Of the words themselves.
  std::size_t bytes() const { return bytes_.size(); }

  void prefetch(std::uint64_t hash) const {
    __builtin_prefetch(&entries_[hash & (entries_.size() - 1)]);
  }

  // The value of the word, or nullptr.
  Value* find(std::string_view word, std::uint64_t hash) {
    const std::size_t mask = entries_.size() - 1;
    for (std::size_t at = hash & mask; entries_[at].length != 0; at = (at + 1) & mask) {
      Entry& entry = entries_[at];
      if (entry.hash == hash && bytes_of(entry) == word) return &entry.value;
    }
    return nullptr;
  }

  // A word that is not there yet.
  void insert(std::string_view word, std::uint64_t hash, const Value& value) {
    if (2 * (size_ + 1) > entries_.size()) grow();
    place({hash, bytes_.size(), word.size(), value});
    bytes_ += word;
    ++size_;
  }

  void clear() {
    entries_.assign(entries_.size(), Entry{});
    bytes_.clear();
    size_ = 0;
  }

  template <class Visit>
  void for_each(Visit&& visit) const {
    for (const Entry& entry : entries_) {
      if (entry.length != 0) visit(bytes_of(entry), entry.value);
    }
  }

 private:
  struct Entry {
    std::uint64_t hash = 0;
    std::uint64_t offset = 0;  // of the word in bytes_
    std::uint64_t length = 0;  // 0: not in use
    Value value{};
  };

  std::string_view bytes_of(const Entry& entry) const {
    return std::string_view(bytes_).substr(entry.offset, entry.length);
  }

  void place(const Entry& entry) {
    const std::size_t mask = entries_.size() - 1;
    std::size_t at = entry.hash & mask;
    while (entries_[at].length != 0) at = (at + 1) & mask;
    entries_[at] = entry;
  }

  void grow() {
    std::vector<Entry> smaller(entries_.size() * 2);
    smaller.swap(entries_);
    for (const Entry& entry : smaller) {
      if (entry.length != 0) place(entry);
    }
  }

  std::vector<Entry> entries_;
  std::size_t size_ = 0;
  std::string bytes_;
};

}  // namespace onward
