// GPT-2's pattern, and those made like it.
#pragma once

#include "char_masks.hpp"
#include "scan.hpp"

namespace onward {

// '(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
struct Gpt2 {
  static std::size_t word_end(const Scan& scan, std::size_t begin) {
    if (const std::size_t length = contraction_length(scan, begin)) return begin + length;
    const std::size_t first = begin + (scan.is(begin, ' ') && !scan.ends(begin + 1));
    const CharClass c = scan.class_at(first);
    if (is_letter(c)) return scan.run(first, is_letter);
    if (is_number(c)) return scan.run(first, is_number);
    if (is_sign(c)) return scan.run(first, is_sign);
    return space_end(scan, begin, false);
  }

  // Where words begin in the 64 bytes at `p`, which begin with one: a bit each, of the bits that
  // are certain.
  static std::uint64_t word_starts(const std::uint8_t* p) {
    CharMasks masks = ascii_masks(p);
    if (masks.high != 0) add_multibyte<false>(masks, p, [](CharClass) { return false; });
    const std::uint64_t letter = masks.letter;
    const std::uint64_t number = masks.number;
    const std::uint64_t space = masks.space;
    const std::uint64_t sign = ~(letter | number | space);
    // A character goes on with the word if the one before it is of its kind or is a blank; white
    // space does in the middle of a run, whose last character is left to the next word.
    const std::uint64_t same = (letter & letter << 1) | (number & number << 1) | (sign & sign << 1);
    const std::uint64_t in_run = space & space << 1 & space >> 1;
    std::uint64_t starts = ~(same | (masks.blank << 1 & ~space) | in_run) | 1;

    // White space asks for the character after it, a contraction for the three bytes from it on.
    const std::uint64_t certain =
        (std::uint64_t{1} << std::min(std::max(masks.known, 1u) - 1, 61u)) - 1;
    starts &= certain;
    for (std::uint64_t rest = masks.apostrophe & starts; rest != 0; rest &= rest - 1) {
      const auto at = static_cast<std::uint32_t>(std::countr_zero(rest));
      const std::size_t length = contraction_length({p, 64}, at);
      if (length == 0) continue;
      starts &= ~(std::uint64_t{2} << at);
      starts |= std::uint64_t{1} << (at + length);
    }
    return starts & certain;
  }
};

// The same between numbers, each of which is a word:
// \p{N}|'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?[^\s\p{L}\p{N}]+|\s+(?![^\s\p{N}])|\s+
struct SmolLm2 {
  static std::size_t word_end(const Scan& scan, std::size_t begin) {
    const Char first = scan.at(begin);
    if (is_number(first.char_class)) return begin + first.length;
    if (is_space(first.char_class)) {
      const std::size_t end = scan.run(begin, is_space);
      if (is_number(scan.class_at(end))) return end;
    }
    return Gpt2::word_end(scan, begin);
  }
};

// \s+ apart, of which the last goes with the next word if it is a blank: ` ?\S+|\s+(?!\S)|\s+`
struct Whitespace {
  static std::size_t word_end(const Scan& scan, std::size_t begin) {
    const std::size_t first = begin + (scan.is(begin, ' ') && !scan.ends(begin + 1));
    if (!is_space(scan.class_at(first))) {
      return scan.run(first, [](CharClass c) { return !is_space(c); });
    }
    return space_end(scan, begin, false);
  }
};

// The whole text.
struct Byte {
  static std::size_t word_end(const Scan& scan, std::size_t) { return scan.size; }
};

}  // namespace onward
