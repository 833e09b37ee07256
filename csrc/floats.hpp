// Eight floats at a time, on every processor.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

// The best of these that the processor has is taken when the library is loaded; elsewhere, the
// compiler's baseline. Only GCC makes clones of functions whose parts are inlined vectors.
#if defined(__x86_64__) && defined(__linux__) && !defined(__clang__)
#define ONWARD_EVERY_PROCESSOR __attribute__((target_clones("arch=x86-64-v3", "default")))
#else
#define ONWARD_EVERY_PROCESSOR
#endif
#define ONWARD_INLINE __attribute__((always_inline)) inline

namespace onward {

inline constexpr std::size_t kLanes = 8;
using Floats = float __attribute__((vector_size(kLanes * sizeof(float))));
using Bits = std::uint32_t __attribute__((vector_size(kLanes * sizeof(float))));

ONWARD_INLINE Floats load(const float* numbers) {
  Floats loaded;
  std::memcpy(&loaded, numbers, sizeof(loaded));
  return loaded;
}

ONWARD_INLINE void store(float* numbers, Floats stored) {
  std::memcpy(numbers, &stored, sizeof(stored));
}

// 2^x for x up to 127, off by less than 2e-7 of it; 0 below 2^-126, exactly 1 for 0, and what is
// not a number stays none.
ONWARD_INLINE Floats exp2(Floats x) {
  // Added to a number of less than 2^22, this leaves its integer in the lowest bits.
  constexpr float kToInteger = 3 << 22;
  const Floats shifted = x + kToInteger;
  const Floats part = x - (shifted - kToInteger);  // at most a half
  // Taylor's series of e^(part ln 2): the next term is less than 2e-7.
  Floats power = 1.5403530e-4f * part + 1.3333558e-3f;
  power = power * part + 9.6181291e-3f;
  power = power * part + 5.5504109e-2f;
  power = power * part + 2.4022651e-1f;
  power = power * part + 6.9314718e-1f;
  power = power * part + 1.0f;
  const Bits scale = ((Bits)shifted << 23) + (127u << 23);  // its exponent is the integer
  const Bits kept = ~(Bits)(x < -126.0f);
  return (Floats)((Bits)(power * (Floats)scale) & kept);
}

}  // namespace onward
