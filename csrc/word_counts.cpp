#include "word_counts.hpp"

#include <cstdio>

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
    const std::size_t cut = safe_cut(pattern_, part);
    count_words(part.substr(0, cut));
    pending_ = part.substr(cut);
    return;
  }
  pending_ += part;
  // Looking again through what had no cut would make long lines quadratic. The few bytes before the
  // new part count as new: whether one can cut there depends on what follows.
  const std::size_t known = pending_.size() - part.size();
  const std::size_t cut = safe_cut(pattern_, pending_, known > 8 ? known - 8 : 0);
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
    hash_words(text, begin, ends, batch_, short_words_, long_words_);
    for (std::size_t i = 0; i < ends.size(); ++i) {
      auto& known = short_words_.first(batch_[i].hash);
      if (known.key == batch_[i].key) {
        ++known.value;
      } else {
        count_rare(text.substr(begin, ends[i] - begin), batch_[i]);
      }
      begin = ends[i];
    }
  }
  counted_bytes_ += text.size();
}

void WordCounts::count_rare(std::string_view word, const HashedWord& hashed) {
  std::uint64_t* const count =
      hashed.is_short() ? short_words_.find(hashed) : long_words_.find(word, hashed.hash);
  if (count != nullptr) {
    ++*count;
  } else if (hashed.is_short()) {
    short_words_.insert(hashed, 1);
  } else {
    long_words_.insert(word, hashed.hash, 1);
  }
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
