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

#include "long_words.hpp"
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
  Encoder(const Vocabulary& vocabulary, SplitPattern pattern)
      : pattern_(pattern), merger_(vocabulary) {}

  template <class Id>
  void encode(std::string_view text, IdBuffer<Id>& out);

 private:
  // Up to three ids, or where more of them are: a short word and its ids fill half a cache line.
  struct Ids {
    std::uint32_t ids[3]{};
    std::uint32_t count = 0;
  };
  struct Place {
    std::uint32_t offset = 0;  // in many_ids_
    std::uint32_t count = 0;
  };

  template <class Id>
  void write_ids(std::string_view text, std::size_t begin, std::span<const std::size_t> ends,
                 IdBuffer<Id>& out);
  std::span<const std::uint32_t> rare_ids(std::string_view word, const HashedWord& hashed);
  std::span<const std::uint32_t> ids_of(const Ids& ids) const {
    if (ids.count <= 3) return {ids.ids, ids.count};
    return {many_ids_.data() + ids.ids[0], ids.count};
  }
  void remember(std::string_view word, const HashedWord& hashed,
                std::span<const std::uint32_t> ids);
  Place keep(std::span<const std::uint32_t> ids);
  void make_room();

  SplitPattern pattern_;
  WordMerger merger_;
  ShortWords<Ids> short_words_;
  LongWords<Place> long_words_;
  std::vector<std::uint32_t> many_ids_;
  HashedWords batch_;
};

}  // namespace onward
