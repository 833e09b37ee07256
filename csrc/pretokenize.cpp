#include "pretokenize.hpp"

#include <algorithm>
#include <bit>

#include "scan_cl100k.hpp"
#include "scan_gpt2.hpp"
#include "scan_o200k.hpp"

namespace onward {

Pretokenizer::Pretokenizer(SplitPattern pattern, std::string_view text)
    : pattern_(pattern),
      text_(reinterpret_cast<const std::uint8_t*>(text.data())),
      size_(text.size()) {}

template <class Scanner>
std::span<const std::size_t> Pretokenizer::scan() {
  const Scan scan{text_, size_};
  std::size_t* out = ends_.data();
  std::size_t* const full = out + kBatch;
  while (position_ < size_ && out < full) {
    const std::size_t begin = position_;
    if constexpr (requires { Scanner::word_starts(text_); }) {
      if (size_ - begin >= kWindow) {
        // The window's last word may go on beyond it: the next window begins there.
        std::uint64_t starts = Scanner::word_starts(text_ + begin) & ~std::uint64_t{1};
        for (; starts != 0; starts &= starts - 1) {
          *out++ = position_ = begin + static_cast<std::size_t>(std::countr_zero(starts));
        }
      }
    }
    if (position_ == begin) *out++ = position_ = Scanner::word_end(scan, begin);
  }
  return {ends_.data(), static_cast<std::size_t>(out - ends_.data())};
}

std::span<const std::size_t> Pretokenizer::next_ends() {
  switch (pattern_) {
    case SplitPattern::Gpt2:
      return scan<Gpt2>();
    case SplitPattern::Cl100k:
      return scan<Cl100k>();
    case SplitPattern::O200k:
      return scan<O200k>();
    case SplitPattern::Llama3:
      return scan<Llama3>();
    case SplitPattern::SmolLm2:
      return scan<SmolLm2>();
    case SplitPattern::Whitespace:
      return scan<Whitespace>();
    case SplitPattern::Byte:
      return scan<Byte>();
  }
  return {};
}

namespace {

// What stands on both sides of a place in a text; a character that is cut short is no sign.
struct Border {
  std::string_view text;

  CharClass after(std::size_t at) const {
    if (at >= text.size()) return CharClass::Other;
    return decode(bytes() + at, text.size() - at).char_class;
  }
  CharClass before(std::size_t at) const {
    std::size_t lead = at - 1;
    while (lead > 0 && at - lead < 4 && (bytes()[lead] & 0xC0) == 0x80) --lead;
    const Char c = decode(bytes() + lead, text.size() - lead);
    return lead + c.length == at ? c.char_class : CharClass::Other;  // else a stray byte
  }
  bool sign_after(std::size_t at) const {
    const Char c = decode(bytes() + at, text.size() - at);
    return c.char_class == CharClass::Other && (c.length > 1 || bytes()[at] < 0x80);
  }
  const std::uint8_t* bytes() const { return reinterpret_cast<const std::uint8_t*>(text.data()); }
};

}  // namespace

std::size_t safe_cut(SplitPattern pattern, std::string_view text, std::size_t from) {
  if (pattern == SplitPattern::Byte) return 0;
  const bool signs_apart = pattern != SplitPattern::Whitespace;
  const Border border{text};
  for (std::size_t cut = text.size(); cut-- > std::max(from, std::size_t{2});) {
    // No word goes on from a letter or number to a blank and a letter, from one line to the next,
    // or from a letter to a sign, unless that is an apostrophe.
    const CharClass before = border.before(cut);
    if (text[cut] == ' ' && (is_letter(before) || is_number(before)) &&
        is_letter(border.after(cut + 1))) {
      return cut;
    }
    if (text[cut - 1] == '\n' && is_letter(border.after(cut)) &&
        !is_space(border.before(cut - 1))) {
      return cut;
    }
    if (signs_apart && is_letter(before) && text[cut] != '\'' && border.sign_after(cut)) return cut;
  }
  return 0;
}

}  // namespace onward
