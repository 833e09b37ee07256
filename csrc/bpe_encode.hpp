// Turns text into token ids.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <new>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "pretokenize.hpp"
#include "short_words.hpp"
#include "vocabulary.hpp"
#include "word_merger.hpp"

namespace onward {

// A growing array of ids that can give its memory away.
template <class Id>
class IdBuffer {
 public:
  // Room for `count` more at the returned place; of these, commit() says how many were written.
  Id* room_for(std::size_t count) {
    if (capacity_ - size_ < count) grow(count);
    return ids_.get() + size_;
  }
  void commit(std::size_t count) { size_ += count; }
  void push_back(Id id) {
    *room_for(1) = id;
    commit(1);
  }
  std::size_t size() const { return size_; }
  const Id* data() const { return ids_.get(); }
  // To be freed with std::free.
  Id* release() { return ids_.release(); }

 private:
  struct Free {
    void operator()(Id* ids) const { std::free(ids); }
  };

  void grow(std::size_t count) {
    capacity_ = std::max(capacity_ + capacity_ / 2, size_ + count);
    // realloc moves large blocks by remapping their pages, without a copy.
    void* larger = std::realloc(ids_.get(), capacity_ * sizeof(Id));
    if (larger == nullptr) throw std::bad_alloc();
    static_cast<void>(ids_.release());
    ids_.reset(static_cast<Id*>(larger));
  }

  std::unique_ptr<Id, Free> ids_;
  std::size_t size_ = 0;
  std::size_t capacity_ = 0;
};

// Encodes; remembers the words it has met, in bounded memory. Not for two threads at once.
class Encoder {
 public:
  Encoder(const Vocabulary& vocabulary, SplitPattern pattern);

  template <class Id>
  void encode(std::string_view text, IdBuffer<Id>& out);

 private:
  // A short word of at most 3 ids, by far the most of them; with its key, two fill a cache line.
  struct FewIds {
    std::uint32_t ids[3]{};
    std::uint32_t count = 0;
  };
  // Any other word: its bytes and ids are in the arenas.
  struct LongWord {
    std::uint64_t hash = 0;
    std::uint32_t bytes_at = 0;
    std::uint32_t length = 0;  // 0: not in use
    std::uint32_t ids_at = 0;
    std::uint32_t id_count = 0;
  };

  template <class Id>
  void write_ids(std::string_view text, std::size_t begin, std::span<const std::size_t> ends,
                 IdBuffer<Id>& out);
  template <class Id>
  void encode_rare(std::string_view word, const HashedWord& hashed, IdBuffer<Id>& out);
  template <class Id>
  void encode_long(std::string_view word, std::uint64_t hash, IdBuffer<Id>& out);
  template <class Id>
  void append(std::span<const std::uint32_t> ids, IdBuffer<Id>& out);
  LongWord& find_long(std::string_view word, std::uint64_t hash);
  void remember_short(const HashedWord& word, std::span<const std::uint32_t> ids);
  void remember_long(std::string_view word, std::uint64_t hash, std::span<const std::uint32_t> ids);
  std::span<const std::uint32_t> ids_of(const LongWord& word) const {
    return {long_ids_.data() + word.ids_at, word.id_count};
  }

  SplitPattern pattern_;
  WordMerger merger_;
  ShortWords<FewIds> short_words_;
  std::vector<LongWord> long_words_;
  std::size_t long_word_count_ = 0;
  std::string long_bytes_;
  std::vector<std::uint32_t> long_ids_;
};

}  // namespace onward
