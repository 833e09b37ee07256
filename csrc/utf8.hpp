// UTF-8 → characters that all take the same room, as Python's str has them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace onward {

struct Utf8Extent {
  std::size_t characters;     // if it is valid
  std::uint8_t largest_byte;  // tells how much room the largest character takes
};

Utf8Extent utf8_extent(std::string_view text);

// Writes the characters of the text, for which `out` has just the room, in one, two or four bytes
// each, as the largest asks for. False where the text is not valid UTF-8.
bool read_utf8(std::string_view text, std::span<std::uint8_t> out);
bool read_utf8(std::string_view text, std::span<std::uint16_t> out);
bool read_utf8(std::string_view text, std::span<std::uint32_t> out);

}  // namespace onward
