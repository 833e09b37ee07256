#include "vocabulary.hpp"

#include <algorithm>
#include <bit>
#include <cstring>
#include <limits>
#include <numeric>

namespace onward {
namespace {
constexpr std::size_t kLongestTokens = std::numeric_limits<std::uint32_t>::max();
}  // namespace

std::uint8_t byte_of_base_id(std::uint32_t id) {
  // Printable in Latin-1: "!" to "~", "¡" to "¬", "®" to "ÿ"; then the others, both ascending.
  constexpr auto kOrder = [] {
    const auto prints = [](int byte) {
      return (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte != 0xAD);
    };
    std::array<std::uint8_t, 256> order{};
    std::size_t next = 0;
    for (const bool wanted : {true, false}) {
      for (int byte = 0; byte < 256; ++byte) {
        if (prints(byte) == wanted) order[next++] = static_cast<std::uint8_t>(byte);
      }
    }
    return order;
  }();
  return kOrder[id];
}

MergeTable::MergeTable(std::size_t size) : buckets_(std::bit_ceil(size / 2 + 1)) {
  for (Bucket& bucket : buckets_) bucket.fill(kEmpty);
}

void MergeTable::add(std::uint32_t left, std::uint32_t right, Rank rank) {
  if (rank_of(left, right) != kNoRank) return;
  const std::uint64_t key = key_of(left, right);
  const Bucket* bucket = first_bucket(key);
  while (bucket->back() != kEmpty) bucket = after(bucket);
  for (std::uint64_t& entry : buckets_[static_cast<std::size_t>(bucket - buckets_.data())]) {
    if (entry != kEmpty) continue;
    entry = key << kRankBits | rank;
    return;
  }
}

Vocabulary::Vocabulary(const std::vector<std::string>& tokens,
                       const std::array<std::uint32_t, 256>& id_of_byte,
                       const std::vector<Merge>& merges,
                       const std::vector<std::uint32_t>& whole_words)
    : id_of_byte_(id_of_byte), merges_(merges.size()) {
  if (tokens.size() > MergeTable::kMostTokens || merges.size() > MergeTable::kMostMerges) {
    throw std::length_error("more than 2,097,152 tokens or merges");
  }
  for (const std::string& token : tokens) {
    if (token.size() > kLongestTokens - bytes_.size()) throw std::length_error("tokens of 4 GB");
    places_.push_back(
        {static_cast<std::uint32_t>(bytes_.size()), static_cast<std::uint32_t>(token.size())});
    const auto* bytes = reinterpret_cast<const std::uint8_t*>(token.data());
    short_tokens_.push_back(token.size() <= WordKey::kLongest ? WordKey::read(bytes, token.size())
                                                              : WordKey{0, kLong << 56});
    bytes_ += token;
  }
  const auto check = [&](std::uint32_t id) {
    if (id >= places_.size()) throw std::out_of_range("an id beyond the vocabulary");
  };
  for (const std::uint32_t id : id_of_byte_) {
    if (id == kNoToken) {
      has_every_byte_ = false;
    } else {
      check(id);
    }
  }
  for (const auto& [left, right, id] : merges) {
    check(left);
    check(right);
    check(id);
    merges_.add(left, right, static_cast<Rank>(made_.size()));
    made_.push_back(id);
    parts_.emplace_back(left, right);
    if (length(left) == 0 || length(right) == 0) continue;  // of an id that no text has
    joins_.set(static_cast<std::uint8_t>(bytes(left).back()) * 256u +
               static_cast<std::uint8_t>(bytes(right).front()));
  }
  for (const std::uint32_t left : id_of_byte_) {
    for (const std::uint32_t right : id_of_byte_) {
      const bool both = left != kNoToken && right != kNoToken;
      byte_ranks_.push_back(both ? rank_of(left, right) : kNoRank);
    }
  }
  for (const std::uint32_t id : whole_words) {
    check(id);
    whole_words_.emplace(bytes(id), id);
  }
}

template <class Id>
std::size_t Vocabulary::decoded_size(std::span<const Id> ids) const {
  std::size_t size = 0;
  for (const Id id : ids) {
    if (id >= places_.size()) throw std::out_of_range("not an id of the vocabulary");
    size += places_[id].length;
  }
  return size;
}

template <class Id>
void Vocabulary::decode(std::span<const Id> ids, std::span<char> out) const {
  char* to = out.data();
  char* const end = to + out.size();
  for (const Id id : ids) {
    if (id >= places_.size()) throw std::out_of_range("not an id of the vocabulary");
    const WordKey& token = short_tokens_[id];
    // Nearly every token is short, and 16 bytes are copied faster than the right number of them.
    if (token.length() != kLong && end - to >= 16) {
      std::memcpy(to, &token, 16);
      to += token.length();
    } else {
      const std::string_view rest = bytes(id);
      if (static_cast<std::size_t>(end - to) < rest.size()) break;
      std::copy(rest.begin(), rest.end(), to);
      to += rest.size();
    }
  }
  if (to != end) throw std::out_of_range("ids that have changed");
}

template std::size_t Vocabulary::decoded_size(std::span<const std::uint16_t>) const;
template std::size_t Vocabulary::decoded_size(std::span<const std::uint32_t>) const;
template void Vocabulary::decode(std::span<const std::uint16_t>, std::span<char>) const;
template void Vocabulary::decode(std::span<const std::uint32_t>, std::span<char>) const;

UnreachableToken::UnreachableToken(std::uint32_t rank)
    : std::invalid_argument("the token of rank " + std::to_string(rank) +
                            " is not made of two tokens of lower rank") {}

std::vector<Merge> merges_of_ranks(const std::vector<std::string>& tokens) {
  std::unordered_map<std::string_view, Rank> rank_of;
  for (std::uint32_t rank = 0; rank < tokens.size(); ++rank) rank_of.emplace(tokens[rank], rank);
  std::vector<Merge> merges;
  std::vector<std::size_t> borders;
  for (std::uint32_t rank = 0; rank < tokens.size(); ++rank) {
    const std::string_view token = tokens[rank];
    if (token.size() == 1) continue;
    borders.resize(token.size() + 1);
    std::iota(borders.begin(), borders.end(), std::size_t{0});
    const auto part = [&](std::size_t i, std::size_t count) {
      const auto found = rank_of.find(token.substr(borders[i], borders[i + count] - borders[i]));
      return found == rank_of.end() ? kNoRank : found->second;
    };
    while (borders.size() > 3) {
      std::size_t best = 0;
      for (std::size_t i = 1; i + 2 < borders.size(); ++i) {
        if (part(i, 2) < part(best, 2)) best = i;
      }
      if (part(best, 2) >= rank) throw UnreachableToken(rank);
      borders.erase(borders.begin() + static_cast<std::ptrdiff_t>(best) + 1);
    }
    if (token.empty() || part(0, 1) >= rank || part(1, 1) >= rank) throw UnreachableToken(rank);
    merges.push_back({part(0, 1), part(1, 1), rank});
  }
  return merges;
}

}  // namespace onward
