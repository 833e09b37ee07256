// Where words begin in 64 bytes at once, by GPT-4's pattern and by GPT-4o's. (The scanners of
// scan_cl100k.hpp and scan_o200k.hpp say the same character by character, and take what is not
// certain here.)
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>

#include "char_masks.hpp"
#include "scan.hpp"

namespace onward {

// Every third number of each run of numbers is the first of a word.
inline std::uint64_t number_starts(std::uint64_t number) {
  const std::uint64_t after_three = number & number << 1 & number << 2 & number << 3;
  std::uint64_t next = number & ~(number << 1);
  std::uint64_t starts = next;
  while ((next = next << 3 & after_three) != 0) starts |= next;
  return starts;
}

// Of runs of `within`, the bits from the first one up to the last that is in `last`, too.
inline std::uint64_t up_to_last(std::uint64_t last, std::uint64_t within) {
  if (last == 0) return 0;
  for (int shift = 1; shift < 64; shift *= 2) {
    last |= last >> shift & within;
    within &= within >> shift;
  }
  return last;
}

// A bit for each of the 64 bytes at `p`, which begin with a word, of the bits that are certain.
// GPT-4o's pattern (`case_apart`) begins a word at upper case after lower case, has contractions go
// with the word before them, and slashes with line ends after signs.
template <bool case_apart>
std::uint64_t gpt4_word_starts(const std::uint8_t* p) {
  CharMasks masks = ascii_masks(p);
  if (masks.high != 0) {
    add_multibyte<case_apart>(masks, p, [](CharClass c) {
      return is_number(c) || (case_apart && (c == CharClass::Letter || c == CharClass::Mark));
    });
  }
  const std::uint64_t letter = masks.letter;
  const std::uint64_t number = masks.number;
  const std::uint64_t space = masks.space;
  const std::uint64_t sign = ~(letter | number | space);
  // Line ends right after signs go with them: adding carries through their run. Of other white
  // space that up to the last line end is a word; of the rest, the tail, the last character is
  // left to a next word of letters, and a blank to one of signs.
  const std::uint64_t with_signs =
      masks.line_end & ~(masks.line_end + (masks.line_end & sign << 1));
  const std::uint64_t apart = space & ~with_signs;
  const std::uint64_t lines = up_to_last(masks.line_end & apart, apart);
  const std::uint64_t tail = apart & ~lines;

  const std::uint64_t new_case = case_apart ? masks.upper & (letter & ~masks.upper) << 1 : 0;
  std::uint64_t inside = letter & (letter << 1 | tail << 1) & ~new_case;
  inside |= number & ~number_starts(number);
  inside |= sign & (sign << 1 | masks.blank << 1);
  inside |= with_signs | (lines & lines << 1) | (tail & tail << 1 & space >> 1);
  std::uint64_t starts = ~inside | 1;
  // A sign that begins a word and is alone goes with letters after it.
  std::uint64_t leads = sign & starts;
  for (int i = 0; i < 3 && masks.trailing != 0; ++i) leads |= leads << 1 & masks.trailing;
  starts &= ~(letter & leads << 1);

  // White space that reaches what is not known may be cut in any way after its first character; a
  // contraction asks for three bytes.
  std::uint32_t known = masks.known;
  if (case_apart) {
    if (const std::uint64_t slashes = with_signs << 1 & masks.slash) {
      known = std::min(known, static_cast<std::uint32_t>(std::countr_zero(slashes)));
    }
  }
  const std::uint64_t unknown = known < 64 ? ~std::uint64_t{0} << known : 0;
  const auto last_run = static_cast<std::uint32_t>(64 - std::countl_zero(~(space | unknown)));
  const std::uint32_t bits = std::min({std::max(known, 1u) - 1, last_run + 1, 61u});
  const std::uint64_t certain = (std::uint64_t{1} << bits) - 1;
  starts &= certain;
  std::uint32_t last_end = 0;
  for (std::uint64_t rest = masks.apostrophe & starts; rest != 0; rest &= rest - 1) {
    const auto at = static_cast<std::uint32_t>(std::countr_zero(rest));
    const bool after_word = (letter << 1 >> at & 1) != 0 && at != last_end;
    if (case_apart && !after_word) continue;
    const auto length = static_cast<std::uint32_t>(any_case_contraction_length({p, 64}, at));
    if (length == 0) continue;
    last_end = at + length;
    // Its apostrophe begins a word or goes with one; in either case its letters begin none.
    starts &= ~(((std::uint64_t{1} << length) - (case_apart ? 1 : 2)) << at);
    starts |= std::uint64_t{1} << last_end;
  }
  return starts & certain;
}

}  // namespace onward
