// The tanh form of the Gaussian error linear unit: x / 2 (1 + tanh(sqrt(2 / pi) (x + 0.044715
// x^3))).
#pragma once

#include <cstddef>

namespace onward {

// Of n numbers. Uses OpenMP's threads, which are torch's where torch was loaded first.
void gelu(const float* x, float* out, std::size_t n);

}  // namespace onward
