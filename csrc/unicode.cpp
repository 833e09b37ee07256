#include "unicode.hpp"

#include <algorithm>
#include <cstring>

namespace onward {
namespace {

constexpr std::uint32_t kRuns[] = {
#include "unicode_runs.inc"
};

// Of a sequence of `length` bytes: its code point, or kCodePoints where it is not valid UTF-8.
std::uint32_t code_point_of(const std::uint8_t* p, std::uint32_t length) {
  constexpr std::uint32_t kSmallest[] = {0, 0, 0x80, 0x800, 0x10000};
  std::uint32_t code_point = p[0] & (0xFFu >> (length + 1));
  for (std::uint32_t i = 1; i < length; ++i) {
    if ((p[i] & 0xC0) != 0x80) return kCodePoints;
    code_point = code_point << 6 | (p[i] & 0x3Fu);
  }
  const bool surrogate = code_point >= 0xD800 && code_point < 0xE000;
  if (code_point < kSmallest[length] || surrogate) return kCodePoints;
  return code_point;
}

// How many bytes the lead byte announces; 0 for a byte that cannot lead.
std::uint32_t announced_length(std::uint8_t lead) {
  if (lead < 0xC2 || lead > 0xF4) return 0;
  return lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
}

bool all_ascii(const std::uint8_t* eight_bytes) {
  std::uint64_t word;
  std::memcpy(&word, eight_bytes, 8);
  return (word & 0x8080808080808080u) == 0;
}

}  // namespace

CharTable::CharTable() {
  std::vector<std::uint8_t> classes;
  classes.reserve(kCodePoints);
  for (std::uint32_t run : kRuns) {
    classes.insert(classes.end(), run / 8, static_cast<std::uint8_t>(run % 8));
  }
  for (std::size_t page = 0; page < page_of_.size(); ++page) {
    const std::uint8_t* wanted = classes.data() + page * 256;
    // Equal pages stand side by side (scripts, and the unassigned), so the newest few are enough.
    std::size_t known = pages_.size() / 256;
    const std::size_t oldest = known > 8 ? known - 8 : 0;
    std::size_t found = known;
    for (std::size_t i = known; i-- > oldest;) {
      if (std::equal(wanted, wanted + 256, pages_.data() + i * 256)) found = i;
    }
    if (found == known) pages_.insert(pages_.end(), wanted, wanted + 256);
    page_of_[page] = static_cast<std::uint16_t>(found);
  }
}

const CharTable kCharTable;

Char detail::decode_multibyte(const std::uint8_t* p, std::size_t available) {
  const std::uint32_t length = announced_length(*p);
  if (length == 0 || length > available) return {1, CharClass::Other};
  const std::uint32_t code_point = code_point_of(p, length);
  if (code_point >= kCodePoints) return {1, CharClass::Other};
  return {length, kCharTable[code_point]};
}

std::optional<std::size_t> find_invalid_utf8(std::string_view text) {
  const auto* bytes = reinterpret_cast<const std::uint8_t*>(text.data());
  std::size_t i = 0;
  while (i < text.size()) {
    if (i + 8 <= text.size() && all_ascii(bytes + i)) {
      i += 8;
      continue;
    }
    if (bytes[i] < 0x80) {
      ++i;
      continue;
    }
    const std::uint32_t length = announced_length(bytes[i]);
    if (length == 0 || i + length > text.size()) return i;
    if (code_point_of(bytes + i, length) >= kCodePoints) return i;
    i += length;
  }
  return std::nullopt;
}

}  // namespace onward
