// Drives the core with hostile bytes: under AddressSanitizer and UndefinedBehaviorSanitizer, with
// the twin paths held equal. With clang's -fsanitize=fuzzer this is a libFuzzer target; otherwise
// main() below draws the inputs itself:  fuzz SECONDS [SEED]
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <random>

#include "bpe_encode.hpp"
#include "bpe_train.hpp"
#include "special_tokens.hpp"
#include "word_counts.hpp"

namespace onward {
namespace {

void check(bool right, const char* what) {
  if (right) return;
  std::fprintf(stderr, "wrong: %s\n", what);
  std::abort();
}

std::vector<std::size_t> all_ends(SplitPattern pattern, std::string_view text) {
  Pretokenizer words(pattern, text);
  std::vector<std::size_t> all;
  for (auto ends = words.next_ends(); !ends.empty(); ends = words.next_ends()) {
    all.insert(all.end(), ends.begin(), ends.end());
  }
  return all;
}

void check_tiles(SplitPattern pattern, std::string_view text) {
  std::size_t begin = 0;
  for (const std::size_t end : all_ends(pattern, text)) {
    check(end > begin && end <= text.size(), "words tile the text");
    begin = end;
  }
  check(begin == text.size(), "words reach the end of the text");
}

// Of a text with a cut in the middle: the words on both sides are those of the whole.
void check_cut(SplitPattern pattern, std::string_view text) {
  const std::size_t cut = safe_cut(pattern, text);
  std::vector<std::size_t> parts = all_ends(pattern, text.substr(0, cut));
  for (const std::size_t end : all_ends(pattern, text.substr(cut))) parts.push_back(cut + end);
  check(parts == all_ends(pattern, text), "a safe cut changes no word");
}

// Learns from the text, if it is one, and encodes it with what was learned.
void check_round_trip(SplitPattern pattern, std::string_view text, bool shuffle) {
  WordCounts counts(pattern);
  try {
    counts.feed(text.substr(0, text.size() / 2));
    counts.feed(text.substr(text.size() / 2));
    counts.end_text();
  } catch (const InvalidUtf8& invalid) {
    check(invalid.position < text.size() || text.empty(), "the wrong byte is in the text");
  }
  std::vector<Merge> merges = train_bpe(counts, {320});
  std::vector<std::string> tokens;
  std::array<std::uint32_t, 256> id_of_byte;
  for (std::uint32_t id = 0; id < 256; ++id) {
    tokens.emplace_back(1, static_cast<char>(byte_of_base_id(id)));
    id_of_byte[byte_of_base_id(id)] = id;
  }
  for (const auto& merge : merges) tokens.push_back(tokens[merge.left] + tokens[merge.right]);
  if (shuffle) std::reverse(merges.begin(), merges.end());
  const Vocabulary vocabulary(tokens, id_of_byte, merges, {});
  Encoder encoder(vocabulary, pattern);
  for (int again = 0; again < 2; ++again) {  // the second time from memory
    IdBuffer<std::uint16_t> ids;
    encoder.encode(text, ids);
    const std::vector<std::uint32_t> wide(ids.data(), ids.data() + ids.size());
    std::string decoded(text.size(), '\0');
    std::size_t length = 0;
    for (const std::uint32_t id : wide) length += vocabulary.length(id);
    check(length == text.size(), "the tokens have the text's length");
    vocabulary.decode(wide, decoded);
    check(decoded == text, "decoding gives the text back");
  }
}

}  // namespace
}  // namespace onward

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace onward;
  if (size < 1) return 0;
  const auto pattern = static_cast<SplitPattern>(data[0] % kSplitPatternNames.size());
  // An allocation of its own: reading beyond it is seen.
  const std::vector<char> copy(data + 1, data + size);
  const std::string_view text(copy.data(), copy.size());
  check_tiles(pattern, text);
  check_cut(pattern, text);
  check_round_trip(pattern, text, data[0] >= 128);
  const SpecialTokens special({{"<|end|>", 1}, {"<|", 2}, {"\xff", 3}});
  if (const auto found = special.find(text)) {
    check(found->position + found->length <= text.size(), "a special token lies in the text");
  }
  return 0;
}

#ifndef ONWARD_LIBFUZZER
int main(int count, char** arguments) {
  if (count < 2) return std::fprintf(stderr, "usage: fuzz SECONDS [SEED]\n"), 2;
  std::mt19937 draw(count > 2 ? static_cast<unsigned>(std::atoi(arguments[2])) : 1);
  const char* const parts[] = {"a",
                               "b",
                               "the ",
                               " ",
                               "  ",
                               "\n",
                               "\r\n",
                               "'s",
                               "'LL",
                               "12",
                               "!",
                               "/",
                               "<|",
                               "<|end|>",
                               "\xc3\xa9",
                               "\xc5\xbf",
                               "\xff",
                               "\xe6",
                               "\x80",
                               "\t",
                               "A",
                               "\xe3\x80\x80",
                               "\xc2\xa0",
                               "\xcc\x81",
                               "\xe6\x97\xa5",
                               "\xf0\x9f\x99\x82",
                               "\xd0\x96",
                               "\xd9\xa3",
                               "zzzz",
                               "abab"};
  const auto until =
      std::chrono::steady_clock::now() + std::chrono::seconds(std::atoi(arguments[1]));
  std::size_t inputs = 0;
  for (; std::chrono::steady_clock::now() < until; ++inputs) {
    std::string input(1, static_cast<char>(draw() % 256));
    const std::size_t length = std::size_t{1} << draw() % 9;
    while (input.size() < length) {
      const std::string part = parts[draw() % std::size(parts)];
      const std::size_t times = draw() % 16 == 0 ? draw() % 1500 : 1;
      for (std::size_t i = 0; i < times; ++i) input += part;
      if (draw() % 8 == 0) input += static_cast<char>(draw() % 256);
    }
    LLVMFuzzerTestOneInput(reinterpret_cast<const std::uint8_t*>(input.data()), input.size());
  }
  std::printf("%zu inputs, nothing wrong\n", inputs);
}
#endif
