// GPT-4's pattern, and those made like it.
#pragma once

#include "gpt4_word_starts.hpp"
#include "scan.hpp"

namespace onward {

// (?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|
// \s*[\r\n]+|\s+(?!\S)|\s+
struct Llama3 {
  static std::uint64_t word_starts(const std::uint8_t* p) { return gpt4_word_starts<false>(p); }

  static std::size_t word_end(const Scan& scan, std::size_t begin) {
    const std::size_t end = word_or_number_end(scan, begin);
    return end > begin ? end : signs_or_space_end(scan, begin, false);
  }

  // The first three alternatives; `begin` if none of them matches.
  static std::size_t word_or_number_end(const Scan& scan, std::size_t begin) {
    if (const std::size_t length = any_case_contraction_length(scan, begin)) return begin + length;
    const Char first = scan.at(begin);
    if (is_letter(first.char_class)) return scan.run(begin, is_letter);
    if (is_number(first.char_class)) return scan.run(begin, 3, is_number);
    const std::size_t second = begin + first.length;
    if (scan.is_line_end(begin) || !is_letter(scan.class_at(second))) return begin;
    return scan.run(second, is_letter);
  }

  // The last four; with slashes, these may follow signs as line ends do.
  static std::size_t signs_or_space_end(const Scan& scan, std::size_t begin, bool slashes) {
    const std::size_t first = begin + scan.is(begin, ' ');
    if (scan.ends(first) || !is_sign(scan.class_at(first))) return space_end(scan, begin, true);
    std::size_t end = scan.run(first, is_sign);
    while (scan.is_line_end(end) || (slashes && scan.is(end, '/'))) ++end;
    return end;
  }
};

// As tiktoken has it: white space up to the end of the text is one word, line ends or not.
struct Cl100k {
  static std::uint64_t word_starts(const std::uint8_t* p) { return gpt4_word_starts<false>(p); }

  static std::size_t word_end(const Scan& scan, std::size_t begin) {
    const std::size_t end = Llama3::word_or_number_end(scan, begin);
    if (end > begin) return end;
    if (scan.ends(scan.run(begin, is_space))) return scan.size;
    return Llama3::signs_or_space_end(scan, begin, false);
  }
};

}  // namespace onward
