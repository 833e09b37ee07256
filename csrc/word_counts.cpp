#include "word_counts.hpp"

#include <cstdio>
#include <limits>

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

WordCounts::WordCounts(SplitPattern pattern) : pattern_(pattern), slots_(1 << 12) {}

void WordCounts::feed(std::string_view part) {
  if (pending_.empty()) {
    const std::size_t cut = safe_cut(part);
    count_words(part.substr(0, cut));
    pending_ = part.substr(cut);
    return;
  }
  pending_ += part;
  // Looking again through what had no cut would make long lines quadratic. The few bytes before the
  // new part count as new: whether one can cut there depends on what follows.
  const std::size_t known = pending_.size() - part.size();
  const std::size_t cut = safe_cut(pending_, known > 8 ? known - 8 : 0);
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
    for (const std::size_t end : ends) {
      const std::string_view word = text.substr(begin, end - begin);
      add(hash_bytes(reinterpret_cast<const std::uint8_t*>(word.data()), word.size()), word, 1);
      begin = end;
    }
  }
  counted_bytes_ += text.size();
}

void WordCounts::add(std::uint64_t hash, std::string_view word, std::uint64_t count) {
  const auto tag = static_cast<std::uint32_t>(hash >> 32);
  const std::size_t mask = slots_.size() - 1;
  for (std::size_t at = hash & mask;; at = (at + 1) & mask) {
    Slot& slot = slots_[at];
    if (slot.entry == 0) {
      if (entries_.size() + 1 == std::numeric_limits<std::uint32_t>::max()) {
        throw std::length_error("more than 4,294,967,294 distinct words");
      }
      entries_.push_back({arena_.size(), count, word.size()});
      arena_ += word;
      slot = {tag, static_cast<std::uint32_t>(entries_.size())};
      if (entries_.size() * 2 > slots_.size()) grow();
      return;
    }
    if (slot.tag != tag) continue;
    Entry& entry = entries_[slot.entry - 1];
    if (word == std::string_view(arena_).substr(entry.offset, entry.length)) {
      entry.count += count;
      return;
    }
  }
}

void WordCounts::grow() {
  std::vector<Slot> larger(slots_.size() * 2);
  const std::size_t mask = larger.size() - 1;
  for (std::size_t i = 0; i < entries_.size(); ++i) {
    const std::string_view word = (*this)[i].bytes;
    const std::uint64_t hash =
        hash_bytes(reinterpret_cast<const std::uint8_t*>(word.data()), word.size());
    std::size_t at = hash & mask;
    while (larger[at].entry != 0) at = (at + 1) & mask;
    larger[at] = {static_cast<std::uint32_t>(hash >> 32), static_cast<std::uint32_t>(i + 1)};
  }
  slots_ = std::move(larger);
}

}  // namespace onward
