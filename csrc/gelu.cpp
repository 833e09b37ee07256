#include "gelu.hpp"

#include <algorithm>

#include "floats.hpp"

namespace onward {
namespace {

// Numbers a turn of a thread: fewer are not worth waking another.
constexpr std::size_t kTurn = 8192;

// As x / (1 + e^-2u), where u is what the tanh is taken of.
ONWARD_INLINE Floats gelu(Floats x) {
  constexpr float kSlope = -2.3022082f;   // -2 sqrt(2 / pi) / ln 2
  x = x < -10.0f ? Floats{} - 10.0f : x;  // nothing is left there, and 2^126 is nearly reached
  return x / (1.0f + exp2(x * (kSlope + kSlope * 0.044715f * x * x)));
}

ONWARD_EVERY_PROCESSOR void some_numbers(const float* x, float* out, std::size_t n) {
  std::size_t i = 0;
  for (; i + kLanes <= n; i += kLanes) store(out + i, gelu(load(x + i)));
  float last[kLanes] = {};
  std::copy_n(x + i, n - i, last);
  store(last, gelu(load(last)));
  std::copy_n(last, n - i, out + i);
}

}  // namespace

void gelu(const float* x, float* out, std::size_t n) {
#pragma omp parallel for schedule(static) if (n > kTurn)
  for (std::size_t i = 0; i < n; i += kTurn) some_numbers(x + i, out + i, std::min(kTurn, n - i));
}

}  // namespace onward
