// Hashing of words and pairs, seeded once a process so that no text can be made to collide.
#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <random>
#include <string_view>

namespace onward {

// Folds the 128-bit product: every bit of the input reaches every bit of the result.
inline std::uint64_t mix(std::uint64_t a, std::uint64_t b) {
  const auto product = static_cast<unsigned __int128>(a) * b;
  return static_cast<std::uint64_t>(product) ^ static_cast<std::uint64_t>(product >> 64);
}

inline std::uint64_t random_seed() {
  std::random_device device;
  return (std::uint64_t{device()} << 32 | device()) | 1;
}

inline const std::uint64_t kHashSeed = random_seed();

static_assert(std::endian::native == std::endian::little);

// A word of at most 15 bytes: these, zeros, and in the last byte its length.
struct WordKey {
  static constexpr std::size_t kLongest = 15;

  std::uint64_t low = 0;
  std::uint64_t high = 0;

  // Reads 16 bytes whatever the length, hence only where `p` has as many.
  static WordKey read_16(const std::uint8_t* p, std::size_t length) {
    WordKey key;
    std::memcpy(&key, p, 16);
    key.low &= kMasks[length].low;
    key.high = (key.high & kMasks[length].high) | std::uint64_t{length} << 56;
    return key;
  }
  static WordKey read(const std::uint8_t* p, std::size_t length) {
    std::uint8_t padded[16] = {};
    std::memcpy(padded, p, length);
    return read_16(padded, length);
  }

  // One comparison, one branch.
  bool operator==(const WordKey& other) const {
    return ((low ^ other.low) | (high ^ other.high)) == 0;
  }
  std::size_t length() const { return high >> 56; }
  std::string_view bytes() const { return {reinterpret_cast<const char*>(this), length()}; }
  std::uint64_t hash() const { return mix(low ^ kHashSeed, high ^ 0x9E3779B97F4A7C15u); }

 private:
  struct Mask {
    std::uint64_t low;
    std::uint64_t high;
  };
  static constexpr std::array<Mask, 16> kMasks = [] {
    std::array<Mask, 16> masks{};
    for (unsigned length = 0; length < 16; ++length) {
      const auto ones = [](unsigned bytes) { return (std::uint64_t{1} << (8 * bytes)) - 1; };
      masks[length] =
          length < 8 ? Mask{ones(length), 0} : Mask{~std::uint64_t{0}, ones(length - 8)};
    }
    return masks;
  }();
};

inline std::uint64_t hash_bytes(std::string_view bytes) {
  const auto read_8 = [](const char* from, std::size_t count) {
    std::uint64_t value = 0;
    std::memcpy(&value, from, count);
    return value;
  };
  const char* p = bytes.data();
  std::size_t length = bytes.size();
  std::uint64_t hash = kHashSeed ^ length;
  for (; length > 16; p += 16, length -= 16) {
    hash = mix(hash ^ read_8(p, 8), read_8(p + 8, 8) ^ 0xD6E8FEB86659FD93u);
  }
  const std::size_t first = length < 8 ? length : 8;
  return mix(hash ^ read_8(p, first), read_8(p + first, length - first) ^ 0x9E3779B97F4A7C15u);
}

}  // namespace onward
