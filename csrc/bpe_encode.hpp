// Turns text into token ids.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "buffer.hpp"
#include "long_words.hpp"
#include "pretokenize.hpp"
#include "short_words.hpp"
#include "vocabulary.hpp"
#include "word_merger.hpp"

namespace onward {

// Encodes; remembers the words it has met, in bounded memory. Not for two threads at once.
class Encoder {
 public:
  Encoder(const Vocabulary& vocabulary, SplitPattern pattern)
      : pattern_(pattern), merger_(vocabulary) {}

  template <class Id>
  void encode(std::string_view text, Buffer<Id>& out);

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
                 Buffer<Id>& out);
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
