// Hashing of words and pairs, seeded once a process so that no text can be made to collide.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <random>

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

// A word's first 16 bytes as two numbers, zero beyond its end.
struct Key16 {
  std::uint64_t low;
  std::uint64_t high;
  bool operator==(const Key16&) const = default;
};

// Reads 16 bytes whatever the length, hence only where `p` has as many.
inline Key16 load_key_unchecked(const std::uint8_t* p, std::size_t length) {
  Key16 key;
  std::memcpy(&key, p, 16);
  const auto mask = [](std::size_t bytes) {
    return bytes >= 8 ? ~std::uint64_t{0} : (std::uint64_t{1} << (8 * bytes)) - 1;
  };
  key.low &= mask(length);
  key.high &= length > 8 ? mask(length - 8) : 0;
  return key;
}

inline Key16 load_key(const std::uint8_t* p, std::size_t length) {
  std::uint8_t padded[16] = {};
  std::memcpy(padded, p, length < 16 ? length : 16);
  Key16 key;
  std::memcpy(&key, padded, 16);
  return key;
}

inline std::uint64_t hash_key(Key16 key, std::size_t length) {
  return mix(key.low ^ kHashSeed ^ length, key.high ^ 0x9E3779B97F4A7C15u);
}

inline std::uint64_t hash_bytes(const std::uint8_t* p, std::size_t length) {
  std::uint64_t hash = kHashSeed ^ length;
  std::size_t i = 0;
  for (; i + 16 < length; i += 16) {
    const Key16 key = load_key(p + i, 16);
    hash = mix(hash ^ key.low, key.high ^ 0xD6E8FEB86659FD93u);
  }
  const Key16 key = load_key(p + i, length - i);
  return mix(hash ^ key.low, key.high ^ 0x9E3779B97F4A7C15u);
}

}  // namespace onward
