#include "pretokenize.hpp"

#include <algorithm>
#include <bit>

#include "char_masks.hpp"
#include "unicode.hpp"

namespace onward {
namespace {

// ---- GPT-2 ----
// '(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+

// Of a text at whose start stands an apostrophe: the length of 's, 'd, 'm, 't, 'll, 've or 're.
std::size_t contraction_length(const std::uint8_t* p, std::size_t available) {
  if (available < 2) return 0;
  switch (p[1]) {
    case 's':
    case 'd':
    case 'm':
    case 't':
      return 2;
    case 'l':
      return available > 2 && p[2] == 'l' ? 3 : 0;
    case 'v':
    case 'r':
      return available > 2 && p[2] == 'e' ? 3 : 0;
    default:
      return 0;
  }
}

enum class Kind : std::uint8_t { Letters, Numbers, Others, Spaces };

Kind kind_of(CharClass c) {
  if (is_letter(c)) return Kind::Letters;
  if (c == CharClass::Number) return Kind::Numbers;
  return c == CharClass::Space ? Kind::Spaces : Kind::Others;
}

// The end of the run of characters of this kind from `begin` on, and where its last one begins.
struct Run {
  std::size_t end;
  std::size_t last;
};

Run run_of(Kind kind, const std::uint8_t* text, std::size_t begin, std::size_t size) {
  Run run{begin, begin};
  while (run.end < size) {
    const Char c = decode(text + run.end, size - run.end);
    if (kind_of(c.char_class) != kind) break;
    run.last = run.end;
    run.end += c.length;
  }
  return run;
}

// One word, character by character.
std::size_t gpt2_word_end(const std::uint8_t* text, std::size_t begin, std::size_t size) {
  if (text[begin] == '\'') {
    const std::size_t length = contraction_length(text + begin, size - begin);
    if (length > 0) return begin + length;
  }
  const auto kind_at = [&](std::size_t at) {
    return kind_of(decode(text + at, size - at).char_class);
  };
  Kind kind = kind_at(begin);
  if (text[begin] == ' ' && begin + 1 < size) kind = kind_at(begin + 1);
  if (kind != Kind::Spaces) return run_of(kind, text, begin + (text[begin] == ' '), size).end;
  const Run spaces = run_of(Kind::Spaces, text, begin, size);
  // The last white space before a word is left to it, unless it is all there is.
  return spaces.end == size || spaces.last == begin ? spaces.end : spaces.last;
}

// Where words begin in the window at `p`, which begins with one: a bit each, of the bits that are
// certain. The text must go on for the window's 64 bytes.
std::uint64_t gpt2_word_starts(const std::uint8_t* p) {
  CharMasks masks = ascii_masks(p);
  if (masks.high != 0) add_multibyte(masks, p);
  const auto [letter, number, space, blank, apostrophe, high, known] = masks;
  const std::uint64_t other = ~(letter | number | space);
  // A character goes on with the word if the one before it is of its kind or is a blank; white
  // space does in the middle of a run, whose last character is left to the next word.
  const std::uint64_t same = (letter & letter << 1) | (number & number << 1) | (other & other << 1);
  const std::uint64_t in_run = space & space << 1 & space >> 1;
  std::uint64_t starts = ~(same | (blank << 1 & ~space) | in_run) | 1;

  // White space asks for the character after it, a contraction for the three bytes from it on.
  const std::uint64_t certain = (std::uint64_t{1} << std::min(std::max(known, 1u) - 1, 61u)) - 1;
  starts &= certain;
  for (std::uint64_t rest = apostrophe & starts; rest != 0; rest &= rest - 1) {
    const auto at = static_cast<std::uint32_t>(std::countr_zero(rest));
    const std::size_t length = contraction_length(p + at, 64 - at);
    if (length == 0) continue;
    starts &= ~(std::uint64_t{2} << at);
    starts |= std::uint64_t{1} << (at + length);
  }
  return starts & certain;
}

struct Gpt2 {
  static std::size_t word_end(const std::uint8_t* text, std::size_t begin, std::size_t size) {
    return gpt2_word_end(text, begin, size);
  }
  static std::uint64_t word_starts(const std::uint8_t* window) { return gpt2_word_starts(window); }
};

}  // namespace

Pretokenizer::Pretokenizer(SplitPattern pattern, std::string_view text)
    : pattern_(pattern),
      text_(reinterpret_cast<const std::uint8_t*>(text.data())),
      size_(text.size()) {}

template <class Scanner>
std::span<const std::size_t> Pretokenizer::scan() {
  std::size_t* out = ends_.data();
  std::size_t* const full = out + kBatch;
  while (position_ < size_ && out < full) {
    const std::size_t begin = position_;
    if (size_ - begin >= kWindow) {
      // The window's last word may go on beyond it: the next window begins there.
      std::uint64_t starts = Scanner::word_starts(text_ + begin) & ~std::uint64_t{1};
      for (; starts != 0; starts &= starts - 1) {
        *out++ = position_ = begin + static_cast<std::size_t>(std::countr_zero(starts));
      }
    }
    if (position_ == begin) *out++ = position_ = Scanner::word_end(text_, begin, size_);
  }
  return {ends_.data(), static_cast<std::size_t>(out - ends_.data())};
}

std::span<const std::size_t> Pretokenizer::next_ends() {
  switch (pattern_) {
    case SplitPattern::Gpt2:
      return scan<Gpt2>();
  }
  return {};
}

std::size_t safe_cut(std::string_view text, std::size_t from) {
  const auto* bytes = reinterpret_cast<const std::uint8_t*>(text.data());
  // The classes of the characters on both sides; one that is cut short is Other.
  const auto class_at = [&](std::size_t at) {
    return at < text.size() ? decode(bytes + at, text.size() - at).char_class : CharClass::Other;
  };
  const auto class_before = [&](std::size_t at) {
    std::size_t lead = at - 1;
    while (lead > 0 && at - lead < 4 && (bytes[lead] & 0xC0) == 0x80) --lead;
    return class_at(lead);
  };
  for (std::size_t cut = text.size(); cut-- > std::max(from, std::size_t{2});) {
    // No word goes on from a letter or number to a blank and a letter, nor from one line to the
    // next.
    if (bytes[cut] == ' ') {
      const CharClass before = class_before(cut);
      const bool in_word = is_letter(before) || before == CharClass::Number;
      if (in_word && is_letter(class_at(cut + 1))) return cut;
    }
    if (bytes[cut - 1] == '\n' && is_letter(class_at(cut)) &&
        class_before(cut - 1) != CharClass::Space) {
      return cut;
    }
  }
  return 0;
}

}  // namespace onward
