#include "utf8.hpp"

#include <algorithm>
#include <bit>
#include <cstring>

#include "unicode.hpp"

namespace onward {
namespace {

constexpr std::uint64_t kHighBits = 0x8080808080808080u;

template <class Unit>
bool read(std::string_view text, std::span<Unit> out) {
  const auto* p = reinterpret_cast<const std::uint8_t*>(text.data());
  const auto* const end = p + text.size();
  Unit* to = out.data();
  Unit* const full = to + out.size();
  while (p < end) {
    // Up to the next byte beyond ASCII, eight at once; what is written too much is written over.
    while (end - p >= 8 && full - to >= 8) {
      std::uint64_t eight;
      std::memcpy(&eight, p, 8);
      for (int i = 0; i < 8; ++i) to[i] = p[i];
      const std::uint64_t high = eight & kHighBits;
      const int ascii = high == 0 ? 8 : std::countr_zero(high) / 8;
      p += ascii;
      to += ascii;
      if (ascii < 8) break;
    }
    // Then characters beyond ASCII, and near the end all of them, one by one.
    while (p < end && (*p >= 0x80 || end - p < 8 || full - to < 8)) {
      if (to == full) return false;  // more bytes than begin a character
      if (*p < 0x80) {
        *to++ = *p++;
      } else if (p[0] < 0xE0 && p[0] >= 0xC2 && end - p > 1 && (p[1] & 0xC0) == 0x80) {
        *to++ = static_cast<Unit>((p[0] & 0x1F) << 6 | (p[1] & 0x3F));
        p += 2;
      } else {
        const CodePoint c = read_multibyte(p, static_cast<std::size_t>(end - p));
        if (c.length == 0) return false;
        *to++ = static_cast<Unit>(c.value);
        p += c.length;
      }
    }
  }
  return true;
}

}  // namespace

Utf8Extent utf8_extent(std::string_view text) {
  const auto* const bytes = reinterpret_cast<const std::uint8_t*>(text.data());
  Utf8Extent extent{0, 0};
  // In parts whose count a byte holds: the compiler counts 16 of them at once.
  constexpr std::size_t kPart = 240;
  for (std::size_t begin = 0; begin < text.size(); begin += kPart) {
    const std::size_t end = std::min(begin + kPart, text.size());
    std::uint8_t characters = 0;
    std::uint8_t largest = 0;
    for (std::size_t i = begin; i < end; ++i) {
      characters = static_cast<std::uint8_t>(characters + ((bytes[i] & 0xC0) != 0x80));
      largest = std::max(largest, bytes[i]);
    }
    extent.characters += characters;
    extent.largest_byte = std::max(extent.largest_byte, largest);
  }
  return extent;
}

bool read_utf8(std::string_view text, std::span<std::uint8_t> out) { return read(text, out); }
bool read_utf8(std::string_view text, std::span<std::uint16_t> out) { return read(text, out); }
bool read_utf8(std::string_view text, std::span<std::uint32_t> out) { return read(text, out); }

}  // namespace onward
