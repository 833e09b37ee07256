// Activations, and their way back, in one pass over memory each.
#pragma once

#include <cstddef>

namespace onward {

// All are of n numbers, and use OpenMP's threads, which are torch's where torch was loaded first.
// A way back takes what the activation took, and the gradient of what it gave.

// The tanh form of the Gaussian error linear unit: x / 2 (1 + tanh(sqrt(2 / pi) (x + 0.044715
// x^3))).
void gelu(const float* x, float* out, std::size_t n);
void gelu_gradient(const float* x, const float* gradient, float* out, std::size_t n);

// The square of what is above 0.
void relu_squared(const float* x, float* out, std::size_t n);
void relu_squared_gradient(const float* x, const float* gradient, float* out, std::size_t n);

// What a gate lets through: up gate / (1 + e^-gate).
void swiglu(const float* gate, const float* up, float* out, std::size_t n);
void swiglu_gradient(const float* gate, const float* up, const float* gradient,
                     float* gate_gradient, float* up_gradient, std::size_t n);

}  // namespace onward
