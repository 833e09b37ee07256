// Drives the core with hostile bytes: under AddressSanitizer and UndefinedBehaviorSanitizer, with
// the twin paths held equal. With clang's -fsanitize=fuzzer this is a libFuzzer target; otherwise
// main() below draws the inputs itself:  fuzz SECONDS [SEED]
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <set>
#include <thread>

#include "bpe_encode.hpp"
#include "bpe_train.hpp"
#include "scan_cl100k.hpp"
#include "scan_gpt2.hpp"
#include "scan_o200k.hpp"
#include "special_tokens.hpp"
#include "unicode.hpp"
#include "utf8.hpp"
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

// The slow twin of the scanners that look at 64 bytes at once.
std::size_t word_end(SplitPattern pattern, const Scan& scan, std::size_t begin) {
  switch (pattern) {
    case SplitPattern::Gpt2:
      return Gpt2::word_end(scan, begin);
    case SplitPattern::Cl100k:
      return Cl100k::word_end(scan, begin);
    case SplitPattern::O200k:
      return O200k::word_end(scan, begin);
    case SplitPattern::Llama3:
      return Llama3::word_end(scan, begin);
    case SplitPattern::SmolLm2:
      return SmolLm2::word_end(scan, begin);
    case SplitPattern::Whitespace:
      return Whitespace::word_end(scan, begin);
    case SplitPattern::Byte:
      return Byte::word_end(scan, begin);
  }
  return begin;
}

void check_tiles(SplitPattern pattern, std::string_view text) {
  const Scan scan{reinterpret_cast<const std::uint8_t*>(text.data()), text.size()};
  std::size_t begin = 0;
  for (const std::size_t end : all_ends(pattern, text)) {
    check(end > begin && end <= text.size(), "words tile the text");
    check(end == word_end(pattern, scan, begin), "words are cut as character by character");
    begin = end;
  }
  check(begin == text.size(), "words reach the end of the text");
}

void check_read_utf8(std::string_view text, bool valid) {
  std::vector<std::uint32_t> characters(utf8_extent(text).characters);
  check(read_utf8(text, std::span(characters)) == valid, "valid UTF-8 is read, and no other");
  if (!valid) return;
  std::size_t begin = 0;
  for (const std::uint32_t c : characters) {
    begin += c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
  }
  check(begin == text.size(), "all characters are read");
}

// Of a text with a cut in the middle: the words on both sides are those of the whole.
void check_cut(SplitPattern pattern, std::string_view text) {
  const std::size_t cut = safe_cut(pattern, text);
  std::vector<std::size_t> parts = all_ends(pattern, text.substr(0, cut));
  for (const std::size_t end : all_ends(pattern, text.substr(cut))) parts.push_back(cut + end);
  check(parts == all_ends(pattern, text), "a safe cut changes no word");
}

// Tokens and merges as training makes them, to begin with the bytes.
struct Learned {
  std::vector<std::string> tokens;
  std::array<std::uint32_t, 256> id_of_byte{};
  std::vector<Merge> merges;

  Learned() {
    for (std::uint32_t id = 0; id < 256; ++id) {
      tokens.emplace_back(1, static_cast<char>(byte_of_base_id(id)));
      id_of_byte[byte_of_base_id(id)] = id;
    }
  }
  Vocabulary vocabulary() const { return {tokens, id_of_byte, merges, {}}; }

  void learn(const WordCounts& counts, std::uint32_t more) {
    const auto limit = static_cast<std::uint32_t>(tokens.size()) + more;
    for (const Merge& merge : train_bpe(counts, vocabulary(), {limit, 1, ~0u, {"ab", "<|end|>"}})) {
      check(merge.id == tokens.size(), "new ids follow those there are");
      tokens.push_back(tokens[merge.left] + tokens[merge.right]);
      merges.push_back(merge);
    }
    std::set<std::string_view> distinct(tokens.begin(), tokens.end());
    check(distinct.size() == tokens.size(), "no two tokens are the same");
    check(!distinct.contains("ab"), "what is taken is not learned");
  }
};

std::vector<std::pair<std::string, std::uint64_t>> sorted_words(const WordCounts& counts) {
  std::vector<std::pair<std::string, std::uint64_t>> words;
  for (const auto& [bytes, count] : counts.words()) words.emplace_back(bytes, count);
  std::sort(words.begin(), words.end());
  return words;
}

// Two threads count what one does.
WordCounts check_counts(SplitPattern pattern, std::string_view text) {
  WordCounts counts(pattern);
  counts.count(text);
  const std::size_t cut = safe_cut(pattern, text);
  WordCounts head(pattern);
  WordCounts tail(pattern);
  std::thread other([&] { tail.count(text.substr(cut)); });
  head.count(text.substr(0, cut));
  other.join();
  head.add(tail);
  check(sorted_words(head) == sorted_words(counts), "two threads count what one does");
  return counts;
}

void check_cap(SplitPattern pattern, std::string_view text, std::size_t max_words) {
  WordCounts counts(pattern, max_words);
  counts.count(text);
  check(counts.size() <= max_words, "no more words than allowed");
  std::uint64_t bytes = counts.dropped_bytes();
  for (const auto& word : counts.words()) bytes += word.count * word.bytes.size();
  check(bytes == text.size(), "every byte is counted or dropped");
}

std::string decoded(const Vocabulary& vocabulary, std::span<const std::uint32_t> ids) {
  std::string text(vocabulary.decoded_size(ids), '\0');
  vocabulary.decode(ids, std::span(text));
  return text;
}

void check_round_trip(const Learned& learned, SplitPattern pattern, std::string_view text) {
  const Vocabulary vocabulary = learned.vocabulary();
  Encoder encoder(vocabulary, pattern);
  std::vector<std::uint32_t> first;
  for (int again = 0; again < 2; ++again) {  // the second time from memory
    Buffer<std::uint16_t> ids;
    encoder.encode(text, ids);
    const std::vector<std::uint32_t> wide(ids.data(), ids.data() + ids.size());
    check(decoded(vocabulary, wide) == text, "decoding gives the text back");
    check(again == 0 || wide == first, "the same text has the same ids");
    first = wide;
  }
}

// Special tokens cut the text; what is between them is encoded.
void check_special(const Learned& learned, SplitPattern pattern, std::string_view text) {
  const Vocabulary vocabulary = learned.vocabulary();
  const auto id = static_cast<std::uint32_t>(std::ranges::find(learned.tokens, "<|end|>") -
                                             learned.tokens.begin());
  const SpecialTokens special({{"<|end|>", id}, {"<|", 27}, {"\xff", 187}});
  Encoder encoder(vocabulary, pattern);
  Buffer<std::uint32_t> ids;
  std::size_t begin = 0;
  while (const auto found = special.find(text, begin)) {
    check(found->position >= begin && found->position + found->length <= text.size(),
          "a special token lies in the text");
    encoder.encode(text.substr(begin, found->position - begin), ids);
    if (found->id == id) {
      ids.push_back(id);
    } else {
      encoder.encode(text.substr(found->position, found->length), ids);
    }
    begin = found->position + found->length;
  }
  encoder.encode(text.substr(begin), ids);
  check(decoded(vocabulary, {ids.data(), ids.size()}) == text,
        "special tokens stand for their text");
}

}  // namespace
}  // namespace onward

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace onward;
  if (size < 2) return 0;
  const auto pattern = static_cast<SplitPattern>(data[0] % kSplitPatternNames.size());
  // An allocation of its own: reading beyond it is seen.
  const std::vector<char> copy(data + 2, data + size);
  const std::string_view text(copy.data(), copy.size());
  check_tiles(pattern, text);
  check_cut(pattern, text);
  const auto invalid = find_invalid_utf8(text);
  check(!invalid || *invalid < text.size(), "the wrong byte is in the text");
  check_read_utf8(text, !invalid);
  check_cap(pattern, text, 1 + data[1] % 64);

  Learned learned;
  learned.learn(check_counts(pattern, text.substr(0, text.size() / 2)), data[1]);
  check_round_trip(learned, pattern, text);
  learned.tokens.push_back("<|end|>");
  learned.learn(check_counts(pattern, text), 64);
  check_round_trip(learned, pattern, text);
  check_special(learned, pattern, text);
  // As others may have written them: in any order.
  std::reverse(learned.merges.begin(), learned.merges.end());
  check_round_trip(learned, pattern, text);
  WordCounts counts(pattern);
  counts.count(text);
  learned.learn(counts, 16);
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
                               "\xd0\xb6",
                               "\xe2\x80\x99",
                               "'",
                               "S",
                               "l",
                               "\xd9\xa3",
                               "zzzz",
                               "abab"};
  const auto until =
      std::chrono::steady_clock::now() + std::chrono::seconds(std::atoi(arguments[1]));
  std::size_t inputs = 0;
  for (; std::chrono::steady_clock::now() < until; ++inputs) {
    std::string input{static_cast<char>(draw() % 256), static_cast<char>(draw() % 256)};
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
