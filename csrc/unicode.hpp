// What the splitting patterns ask of a character: letter, number, white space? By Unicode 16.0.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

namespace onward {

inline constexpr std::uint32_t kCodePoints = 0x110000;

// Upper is Lu and Lt, Lower is Ll, Letter is Lm and Lo; together they are \p{L}.
enum class CharClass : std::uint8_t { Other, Upper, Lower, Letter, Mark, Number, Space };

constexpr bool is_letter(CharClass c) { return c >= CharClass::Upper && c <= CharClass::Letter; }

// The class of every character in two stages: pages of 256 characters, equal pages stored once.
class CharTable {
 public:
  CharTable();
  CharClass operator[](std::uint32_t code_point) const {
    return static_cast<CharClass>(pages_[page_of_[code_point >> 8] * 256 + (code_point & 255)]);
  }

 private:
  std::array<std::uint16_t, kCodePoints / 256> page_of_{};
  std::vector<std::uint8_t> pages_;
};

extern const CharTable kCharTable;

struct Char {
  std::uint32_t length;  // in bytes, at least 1
  CharClass char_class;
};

// A character beyond ASCII; of what is not valid UTF-8 (overlong, surrogate, truncated, beyond
// U+10FFFF) the length is 0.
struct CodePoint {
  std::uint32_t value;
  std::uint32_t length;  // in bytes
};
CodePoint read_multibyte(const std::uint8_t* p, std::size_t available);

namespace detail {
Char decode_multibyte(const std::uint8_t* p, std::size_t available);
}

// The character at `p`, of which `available` >= 1 bytes may be read. A byte that begins no valid
// UTF-8 sequence is a character Other of length 1.
inline Char decode(const std::uint8_t* p, std::size_t available) {
  if (p[0] < 0x80) return {1, kCharTable[p[0]]};
  // Nearly all others: valid sequences of two and three bytes.
  const auto follows = [&](std::size_t i) { return i < available && (p[i] & 0xC0) == 0x80; };
  if (p[0] >= 0xC2 && p[0] < 0xE0 && follows(1)) {
    return {2, kCharTable[(p[0] & 0x1Fu) << 6 | (p[1] & 0x3Fu)]};
  }
  if (p[0] > 0xE0 && p[0] < 0xED && follows(1) && follows(2)) {
    return {3, kCharTable[(p[0] & 0x0Fu) << 12 | (p[1] & 0x3Fu) << 6 | (p[2] & 0x3Fu)]};
  }
  return detail::decode_multibyte(p, available);
}

// Where the first byte lies that is not valid UTF-8, if there is one.
std::optional<std::size_t> find_invalid_utf8(std::string_view text);

}  // namespace onward
