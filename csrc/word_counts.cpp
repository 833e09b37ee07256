#include "word_counts.hpp"

#include <algorithm>
#include <utility>

namespace onward {

void WordCounts::count(std::string_view text) {
  Pretokenizer words(pattern_, text);
  std::size_t begin = 0;
  for (auto ends = words.next_ends(); !ends.empty(); ends = words.next_ends()) {
    hash_words(text, begin, ends, batch_, short_words_, long_words_);
    for (std::size_t i = 0; i < ends.size(); ++i) {
      auto& known = short_words_.first(batch_[i].hash);
      if (known.key == batch_[i].key) {
        ++known.value;
      } else {
        count_rare(text.substr(begin, ends[i] - begin), batch_[i], 1);
      }
      begin = ends[i];
    }
  }
}

void WordCounts::add(const WordCounts& others) {
  for (const auto& [word, count] : others.words()) count_rare(word, hash_word(word), count);
  dropped_words_ += others.dropped_words_;
  dropped_bytes_ += others.dropped_bytes_;
}

void WordCounts::count_rare(std::string_view word, const HashedWord& hashed, std::uint64_t times) {
  std::uint64_t* const count =
      hashed.is_short() ? short_words_.find(hashed) : long_words_.find(word, hashed.hash);
  if (count != nullptr) {
    *count += times;
    return;
  }
  if (hashed.is_short()) {
    short_words_.insert(hashed, times);
  } else {
    long_words_.insert(word, hashed.hash, times);
  }
  if (size() > max_words_) drop_rare();
}

// Forgets the words that occurred no more often than the median. Which they are depends on nothing
// but the words so far, in their order.
void WordCounts::drop_rare() {
  std::vector<std::uint64_t> counts;
  counts.reserve(size());
  for (const auto& word : words()) counts.push_back(word.count);
  const auto middle = counts.begin() + static_cast<std::ptrdiff_t>(counts.size() / 2);
  std::nth_element(counts.begin(), middle, counts.end());

  const auto short_words = std::exchange(short_words_, {});
  const auto long_words = std::exchange(long_words_, {});
  const auto keep = [&](std::string_view word, std::uint64_t count) {
    if (count <= *middle) {
      ++dropped_words_;
      dropped_bytes_ += count * word.size();
      return;
    }
    const HashedWord hashed = hash_word(word);
    if (hashed.is_short()) {
      short_words_.insert(hashed, count);
    } else {
      long_words_.insert(word, hashed.hash, count);
    }
  };
  short_words.for_each([&](const WordKey& key, std::uint64_t count) { keep(key.bytes(), count); });
  long_words.for_each(keep);
}

std::vector<WordCounts::Word> WordCounts::words() const {
  std::vector<Word> all;
  all.reserve(size());
  short_words_.for_each(
      [&](const WordKey& key, std::uint64_t count) { all.push_back({key.bytes(), count}); });
  long_words_.for_each(
      [&](std::string_view word, std::uint64_t count) { all.push_back({word, count}); });
  return all;
}

}  // namespace onward
