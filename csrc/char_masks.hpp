// The classes of up to 64 bytes at once, a bit for each byte, lowest first: what lets a scanner
// find the borders of a dozen words with a few shifts.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>

#include "unicode.hpp"

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

namespace onward {

struct CharMasks {
  std::uint64_t letter = 0;
  std::uint64_t upper = 0;  // upper-case letters
  std::uint64_t number = 0;
  std::uint64_t space = 0;     // white space
  std::uint64_t blank = 0;     // U+0020 only
  std::uint64_t line_end = 0;  // \r and \n
  std::uint64_t apostrophe = 0;
  std::uint64_t slash = 0;
  std::uint64_t high = 0;      // bytes >= 0x80, in no class yet
  std::uint64_t trailing = 0;  // of signs of several bytes, all but the first
  // Bits from here on say nothing.
  std::uint32_t known = 64;
};

// The classes of the ASCII characters among the 64 bytes at `p`. What a scanner does not ask for
// the compiler leaves out.
inline CharMasks ascii_masks(const std::uint8_t* p) {
  CharMasks masks;
#if defined(__SSE2__)
  const auto between = [](__m128i bytes, char low, char width) {
    const __m128i from_low = _mm_sub_epi8(bytes, _mm_set1_epi8(low));
    return _mm_cmpeq_epi8(_mm_min_epu8(from_low, _mm_set1_epi8(width)), from_low);
  };
  const auto bits = [](__m128i matches) {
    return static_cast<std::uint64_t>(static_cast<std::uint32_t>(_mm_movemask_epi8(matches)));
  };
  for (int i = 0; i < 4; ++i) {
    const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p) + i);
    const __m128i blank = _mm_cmpeq_epi8(bytes, _mm_set1_epi8(' '));
    const __m128i lowered = _mm_or_si128(bytes, _mm_set1_epi8(0x20));
    const std::uint64_t letter = bits(between(lowered, 'a', 25));
    const std::uint64_t small = bits(_mm_slli_epi16(bytes, 2));  // what or-ing 0x20 does not change
    masks.letter |= letter << (16 * i);
    masks.upper |= (letter & ~small) << (16 * i);
    masks.number |= bits(between(bytes, '0', 9)) << (16 * i);
    masks.blank |= bits(blank) << (16 * i);
    masks.space |= bits(_mm_or_si128(blank, between(bytes, '\t', 4))) << (16 * i);
    masks.line_end |= bits(_mm_or_si128(_mm_cmpeq_epi8(bytes, _mm_set1_epi8('\n')),
                                        _mm_cmpeq_epi8(bytes, _mm_set1_epi8('\r'))))
                      << (16 * i);
    masks.apostrophe |= bits(_mm_cmpeq_epi8(bytes, _mm_set1_epi8('\''))) << (16 * i);
    masks.slash |= bits(_mm_cmpeq_epi8(bytes, _mm_set1_epi8('/'))) << (16 * i);
    masks.high |= bits(bytes) << (16 * i);
  }
#else
  for (int i = 0; i < 64; ++i) {
    const std::uint64_t bit = std::uint64_t{1} << i;
    const std::uint8_t byte = p[i];
    masks.letter |= static_cast<std::uint8_t>((byte | 0x20) - 'a') < 26 ? bit : 0;
    masks.upper |= static_cast<std::uint8_t>(byte - 'A') < 26 ? bit : 0;
    masks.number |= static_cast<std::uint8_t>(byte - '0') < 10 ? bit : 0;
    masks.blank |= byte == ' ' ? bit : 0;
    masks.space |= byte == ' ' || static_cast<std::uint8_t>(byte - '\t') < 5 ? bit : 0;
    masks.line_end |= byte == '\n' || byte == '\r' ? bit : 0;
    masks.apostrophe |= byte == '\'' ? bit : 0;
    masks.slash |= byte == '/' ? bit : 0;
    masks.high |= byte >= 0x80 ? bit : 0;
  }
#endif
  return masks;
}

// The bytes of Cyrillic letters (U+0400 to U+047F) and of Chinese characters (U+5000 to U+9FFF): of
// those two lead bytes and these five, every valid sequence is a letter.
inline std::uint64_t frequent_letters(const std::uint8_t* p) {
  std::uint64_t two = 0;
  std::uint64_t three = 0;
  std::uint64_t trailing = 0;
#if defined(__SSE2__)
  for (int i = 0; i < 4; ++i) {
    const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p) + i);
    const auto bits = [i](__m128i matches) {
      return static_cast<std::uint64_t>(static_cast<std::uint32_t>(_mm_movemask_epi8(matches)))
             << (16 * i);
    };
    const __m128i from_e5 = _mm_sub_epi8(bytes, _mm_set1_epi8('\xE5'));
    two |= bits(_mm_cmpeq_epi8(_mm_and_si128(bytes, _mm_set1_epi8('\xFE')), _mm_set1_epi8('\xD0')));
    three |= bits(_mm_cmpeq_epi8(_mm_min_epu8(from_e5, _mm_set1_epi8(4)), from_e5));
    trailing |= bits(_mm_cmplt_epi8(bytes, _mm_set1_epi8('\xC0')));
  }
#else
  for (int i = 0; i < 64; ++i) {
    const std::uint64_t bit = std::uint64_t{1} << i;
    two |= (p[i] & 0xFE) == 0xD0 ? bit : 0;
    three |= static_cast<std::uint8_t>(p[i] - 0xE5) < 5 ? bit : 0;
    trailing |= (p[i] & 0xC0) == 0x80 ? bit : 0;
  }
#endif
  two &= trailing >> 1;
  three &= trailing >> 1 & trailing >> 2;
  return two | two << 1 | three | three << 1 | three << 2;
}

// Adds the characters beyond ASCII, all bytes of each to its class. Stops at what a mask cannot say
// (a character that reaches over the window's end, white space of several bytes, or a class of
// which `stops` is true) and sets `known`. Where `case_apart`, upper case is told, too.
template <bool case_apart, class Stops>
void add_multibyte(CharMasks& masks, const std::uint8_t* p, Stops&& stops) {
  const std::uint64_t letters = case_apart ? 0 : frequent_letters(p);
  masks.letter |= letters;
  for (std::uint64_t rest = masks.high & ~letters; rest != 0;) {
    const auto at = static_cast<std::uint32_t>(std::countr_zero(rest));
    const Char c = decode(p + at, 64 - at);
    const bool cut_off = at > 60 && c.length == 1;
    if (cut_off || c.char_class == CharClass::Space || stops(c.char_class)) {
      masks.known = at;
      return;
    }
    const std::uint64_t bits = ((std::uint64_t{1} << c.length) - 1) << at;
    const bool letter = is_letter(c.char_class);
    const bool number = c.char_class == CharClass::Number;
    masks.letter |= letter ? bits : 0;
    masks.upper |= case_apart && c.char_class == CharClass::Upper ? bits : 0;
    masks.number |= number ? bits : 0;
    masks.trailing |= letter || number ? 0 : bits & (bits - 1);
    rest &= ~bits;
  }
}

}  // namespace onward
