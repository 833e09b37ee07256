// GPT-4o's pattern.
#pragma once

#include <optional>

#include "scan_cl100k.hpp"

namespace onward {

// With U for [\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}] and L for [\p{Ll}\p{Lm}\p{Lo}\p{M}]:
// [^\r\n\p{L}\p{N}]?U*L+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|
// [^\r\n\p{L}\p{N}]?U+L*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|
// \p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+
struct O200k {
  static std::uint64_t word_starts(const std::uint8_t* p) { return gpt4_word_starts<true>(p); }

  static std::size_t word_end(const Scan& scan, std::size_t begin) {
    const Char first = scan.at(begin);
    if (is_number(first.char_class)) return scan.run(begin, 3, is_number);
    const bool may_lead = !is_letter(first.char_class) && !scan.is_line_end(begin);
    const std::size_t second = begin + first.length;
    // The alternatives in their order, each first with a leading character, then without.
    std::optional<std::size_t> end;
    if (may_lead) end = lower_end(scan, second);
    if (!end) end = lower_end(scan, begin);
    if (!end && may_lead) end = upper_end(scan, second);
    if (!end) end = upper_end(scan, begin);
    if (end) return *end + any_case_contraction_length(scan, *end);
    return Llama3::signs_or_space_end(scan, begin, true);
  }

 private:
  static bool in_both(CharClass c) { return c == CharClass::Letter || c == CharClass::Mark; }
  static bool in_upper(CharClass c) { return c == CharClass::Upper || in_both(c); }
  static bool in_lower(CharClass c) { return c == CharClass::Lower || in_both(c); }

  // U*L+: where no lower case follows the run of U, its last character that is an L, too, ends it.
  static std::optional<std::size_t> lower_end(const Scan& scan, std::size_t begin) {
    std::optional<std::size_t> after_both;
    std::size_t at = begin;
    while (!scan.ends(at)) {
      const Char c = scan.at(at);
      if (c.char_class == CharClass::Lower) return scan.run(at, in_lower);
      if (!in_upper(c.char_class)) break;
      at += c.length;
      if (in_both(c.char_class)) after_both = at;
    }
    return after_both;
  }

  // U+L*, where U*L+ does not match: no L follows.
  static std::optional<std::size_t> upper_end(const Scan& scan, std::size_t begin) {
    const std::size_t end = scan.run(begin, in_upper);
    return end > begin ? std::optional(end) : std::nullopt;
  }
};

}  // namespace onward
