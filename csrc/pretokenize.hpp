// Cuts text into words, the pieces inside which byte-pair merges happen, as the regular expressions
// of well-known tokenizers do, but by hand-written scanners that take linear time on any text.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace onward {

enum class SplitPattern : std::uint8_t { Gpt2, Cl100k, O200k, Llama3, SmolLm2, Whitespace, Byte };

// By their names, in the order above.
inline constexpr std::array<std::string_view, 7> kSplitPatternNames = {
    "gpt2", "cl100k", "o200k", "llama3", "smollm2", "whitespace", "byte"};

// Hands out the ends of the words of a text, a batch at a time: the words tile the text, so each
// begins where the one before it ends. Bytes that are not UTF-8 count as characters of class Other.
class Pretokenizer {
 public:
  static constexpr std::size_t kWindow = 64;  // bytes looked at together; no window has more words
  static constexpr std::size_t kBatch = 512;
  static constexpr std::size_t kMostEnds = kBatch + kWindow;

  Pretokenizer(SplitPattern pattern, std::string_view text);

  // The ends of the next words, in order; empty once the text is used up. Valid until the next
  // call.
  std::span<const std::size_t> next_ends();

 private:
  template <class Scanner>
  std::span<const std::size_t> scan();

  SplitPattern pattern_;
  const std::uint8_t* text_;
  std::size_t size_;
  std::size_t position_ = 0;
  std::array<std::size_t, kMostEnds> ends_;
};

// The largest cut such that words of text[:cut] and of text[cut:] are the words of the whole,
// however the text may go on; 0 if there is none from `from` on. For reading long texts block by
// block.
std::size_t safe_cut(SplitPattern pattern, std::string_view text, std::size_t from = 0);

}  // namespace onward
