// Turns text into token ids and back.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <new>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "bpe_train.hpp"
#include "hash.hpp"
#include "pair_table.hpp"
#include "pretokenize.hpp"

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

// The tokens and the merges of a tokenizer; never changes.
class Vocabulary {
 public:
  // Ids are places in `tokens`; an empty one is an id that is not in use. Merges are in order of
  // rank; all ids are below tokens.size().
  Vocabulary(std::vector<std::string> tokens, const std::array<std::uint32_t, 256>& id_of_byte,
             const std::vector<Merge>& merges);

  std::size_t size() const { return tokens_.size(); }
  std::string_view bytes(std::uint32_t id) const { return tokens_[id]; }
  std::uint32_t id_of_byte(char byte) const { return id_of_byte_[static_cast<std::uint8_t>(byte)]; }

  struct RankedMerge {
    std::uint32_t rank = kNoRank;
    std::uint32_t id = 0;
  };
  static constexpr std::uint32_t kNoRank = ~std::uint32_t{0};
  RankedMerge merge_of(std::uint32_t left, std::uint32_t right) const {
    const RankedMerge* found = merges_.find(pair_key(left, right));
    return found == nullptr ? RankedMerge{} : *found;
  }

 private:
  std::vector<std::string> tokens_;
  std::array<std::uint32_t, 256> id_of_byte_;
  PairTable<RankedMerge> merges_;
};

// Merges the tokens of one word by rank, of equal ranks the leftmost first.
class WordMerger {
 public:
  explicit WordMerger(const Vocabulary& vocabulary) : vocabulary_(vocabulary) {}
  // Valid until the next call.
  std::span<const std::uint32_t> merge(std::string_view word);

 private:
  void merge_by_scanning();
  void merge_by_queue();

  const Vocabulary& vocabulary_;
  std::vector<std::uint32_t> ids_;
  // Of each token and the next: what they merge to.
  std::vector<Vocabulary::RankedMerge> merges_;
};

// Encodes; remembers the words it has met, in bounded memory. Not for two threads at once.
class Encoder {
 public:
  Encoder(const Vocabulary& vocabulary, SplitPattern pattern);

  template <class Id>
  void encode(std::string_view text, IdBuffer<Id>& out);

 private:
  // A word of at most 16 bytes and 3 ids, by far the most of them: two fill a cache line.
  struct alignas(32) ShortWord {
    Key16 key{};
    std::uint32_t ids[3]{};
    std::uint16_t id_count = 0;
    std::uint16_t length = 0;  // 0: not in use
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
  void encode_new_short(std::string_view word, Key16 key, std::uint64_t hash, IdBuffer<Id>& out);
  template <class Id>
  void encode_long(std::string_view word, std::uint64_t hash, IdBuffer<Id>& out);
  template <class Id>
  void append(std::span<const std::uint32_t> ids, IdBuffer<Id>& out);
  LongWord& find_long(std::string_view word, std::uint64_t hash);
  void remember_long(std::string_view word, std::uint64_t hash, std::span<const std::uint32_t> ids);
  std::span<const std::uint32_t> ids_of(const LongWord& word) const {
    return {long_ids_.data() + word.ids_at, word.id_count};
  }

  SplitPattern pattern_;
  WordMerger merger_;
  std::vector<ShortWord> short_words_;
  std::vector<LongWord> long_words_;
  std::size_t long_word_count_ = 0;
  std::string long_bytes_;
  std::vector<std::uint32_t> long_ids_;
};

// The bytes of the tokens, one after the other; all ids are below vocabulary.size().
std::string decode(const Vocabulary& vocabulary, std::span<const std::uint32_t> ids);

}  // namespace onward
