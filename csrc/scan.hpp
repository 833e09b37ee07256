// What the scanners of all patterns ask of a text, character by character.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "unicode.hpp"

namespace onward {

struct Scan {
  const std::uint8_t* text;
  std::size_t size;

  bool ends(std::size_t at) const { return at >= size; }
  Char at(std::size_t place) const { return decode(text + place, size - place); }
  // The class of the character there; what is beyond the end is of none of the classes asked for.
  CharClass class_at(std::size_t place) const {
    return ends(place) ? CharClass::Other : at(place).char_class;
  }
  bool is(std::size_t place, char character) const {
    return !ends(place) && text[place] == static_cast<std::uint8_t>(character);
  }
  bool is_line_end(std::size_t place) const { return is(place, '\r') || is(place, '\n'); }

  // The end of the run of characters from `begin` on of which wanted(class) is true.
  template <class Wanted>
  std::size_t run(std::size_t begin, Wanted&& wanted) const {
    while (!ends(begin)) {
      const Char c = at(begin);
      if (!wanted(c.char_class)) break;
      begin += c.length;
    }
    return begin;
  }
  // The same, but no more than `most` characters.
  template <class Wanted>
  std::size_t run(std::size_t begin, std::size_t most, Wanted&& wanted) const {
    for (; most > 0 && !ends(begin); --most) {
      const Char c = at(begin);
      if (!wanted(c.char_class)) break;
      begin += c.length;
    }
    return begin;
  }
};

constexpr bool is_number(CharClass c) { return c == CharClass::Number; }
constexpr bool is_space(CharClass c) { return c == CharClass::Space; }
// [^\s\p{L}\p{N}]
constexpr bool is_sign(CharClass c) { return !is_letter(c) && !is_number(c) && !is_space(c); }

// The length of 's, 'd, 'm, 't, 'll, 've or 're at `place`, 0 if there is none.
inline std::size_t contraction_length(const Scan& scan, std::size_t place) {
  if (!scan.is(place, '\'')) return 0;
  for (const char letter : {'s', 'd', 'm', 't'}) {
    if (scan.is(place + 1, letter)) return 2;
  }
  const bool two =
      (scan.is(place + 1, 'l') && scan.is(place + 2, 'l')) ||
      ((scan.is(place + 1, 'v') || scan.is(place + 1, 'r')) && scan.is(place + 2, 'e'));
  return two ? 3 : 0;
}

// The same in capitals, too; by Unicode's rules these include the long s of old prints, U+017F.
inline std::size_t any_case_contraction_length(const Scan& scan, std::size_t place) {
  if (!scan.is(place, '\'')) return 0;
  std::uint8_t lowered[3] = {'\''};
  for (std::size_t i = 1; i < 3 && !scan.ends(place + i); ++i) {
    const std::uint8_t byte = scan.text[place + i];
    lowered[i] = byte >= 'A' && byte <= 'Z' ? byte + ('a' - 'A') : byte;
  }
  if (lowered[1] == 0xC5 && lowered[2] == 0xBF) return 3;
  return contraction_length({lowered, 3}, 0);
}

// White space as all patterns but cl100k's cut it: up to the last line end in the run, if the
// pattern has it so; else all but the last character, which is left to the next word, unless that
// is all.
inline std::size_t space_end(const Scan& scan, std::size_t begin, bool lines_apart) {
  std::size_t end = begin;
  std::size_t last = begin;
  std::size_t after_line = begin;
  while (!scan.ends(end) && is_space(scan.class_at(end))) {
    last = end;
    end += scan.at(end).length;
    if (scan.is_line_end(last)) after_line = end;
  }
  if (lines_apart && after_line > begin) return after_line;
  return scan.ends(end) || last == begin ? end : last;
}

}  // namespace onward
