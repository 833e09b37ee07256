#include "unicode.hpp"

#include <algorithm>
#include <cstring>

namespace onward {
namespace {

constexpr std::uint32_t kRuns[] = {
#include "unicode_runs.inc"
};

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

CodePoint read_multibyte(const std::uint8_t* p, std::size_t available) {
  constexpr CodePoint kInvalid{kCodePoints, 0};
  constexpr std::uint32_t kSmallest[] = {0, 0, 0x80, 0x800, 0x10000};
  if (p[0] < 0xC2 || p[0] > 0xF4) return kInvalid;
  const std::uint32_t length = p[0] < 0xE0 ? 2 : p[0] < 0xF0 ? 3 : 4;
  if (length > available) return kInvalid;
  std::uint32_t value = p[0] & (0xFFu >> (length + 1));
  for (std::uint32_t i = 1; i < length; ++i) {
    if ((p[i] & 0xC0) != 0x80) return kInvalid;
    value = value << 6 | (p[i] & 0x3Fu);
  }
  const bool surrogate = value >= 0xD800 && value < 0xE000;
  if (value < kSmallest[length] || value >= kCodePoints || surrogate) return kInvalid;
  return {value, length};
}

Char detail::decode_multibyte(const std::uint8_t* p, std::size_t available) {
  const CodePoint c = read_multibyte(p, available);
  if (c.length == 0) return {1, CharClass::Other};
  return {c.length, kCharTable[c.value]};
}

std::optional<std::size_t> find_invalid_utf8(std::string_view text) {
  const auto* bytes = reinterpret_cast<const std::uint8_t*>(text.data());
  std::size_t i = 0;
  while (i < text.size()) {
    if (i + 8 <= text.size() && all_ascii(bytes + i)) {
      i += 8;
    } else if (bytes[i] < 0x80) {
      ++i;
    } else {
      const CodePoint c = read_multibyte(bytes + i, text.size() - i);
      if (c.length == 0) return i;
      i += c.length;
    }
  }
  return std::nullopt;
}

}  // namespace onward
