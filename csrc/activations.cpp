#include "activations.hpp"

#include <algorithm>
#include <utility>

#include "floats.hpp"

namespace onward {
namespace {

// Numbers a turn of a thread: fewer are not worth waking another.
constexpr std::size_t kTurn = 8192;

// -2 sqrt(2 / pi) / ln 2: the exponential is made as a power of 2.
constexpr float kSlope = -2.3022082f;
constexpr float kCubic = 0.044715f;

// -1 / ln 2, for the same; a gate this far below 0 lets nothing through.
constexpr float kPerPower = -1.4426950f;
constexpr float kLeastGate = -80.0f;

struct Gelu {
  // As x / (1 + e^-2u), where u is what the tanh is taken of.
  static ONWARD_INLINE Floats of(Floats x, Floats) {
    x = x < -10.0f ? Floats{} - 10.0f : x;  // nothing is left there, and 2^126 is nearly reached
    return x / (1.0f + exp2(x * (kSlope + kSlope * kCubic * x * x)));
  }
};

struct GeluGradient {
  // With s = 1 / (1 + e^-2u): s + x s (1 - s) 2u'.
  static ONWARD_INLINE Floats of(Floats x, Floats gradient) {
    constexpr float kLn2 = 0.6931472f;
    // Nothing changes beyond either end, and a square would overflow.
    x = x < -10.0f ? Floats{} - 10.0f : x > 10.0f ? Floats{} + 10.0f : x;
    const Floats square = x * x;
    const Floats power = exp2(x * (kSlope + kSlope * kCubic * square));
    const Floats share = 1.0f / (1.0f + power);
    const Floats slope = -kLn2 * (kSlope + 3.0f * kSlope * kCubic * square);
    return gradient * share * (1.0f + x * (power * share) * slope);
  }
};

struct ReluSquared {
  // What is not a number stays none.
  static ONWARD_INLINE Floats of(Floats x, Floats) {
    const Floats rectified = x < 0.0f ? Floats{} : x;
    return rectified * rectified;
  }
};

struct Swiglu {
  static ONWARD_INLINE Floats of(Floats gate, Floats up) {
    gate = gate < kLeastGate ? Floats{} + kLeastGate : gate;
    return gate / (1.0f + exp2(gate * kPerPower)) * up;
  }
};

struct SwigluGradient {
  // With s = 1 / (1 + e^-gate): s (1 + gate (1 - s)) for the gate, and gate s for what it lets
  // through.
  static ONWARD_INLINE std::pair<Floats, Floats> of(Floats gate, Floats up, Floats gradient) {
    // Beyond either end nothing changes but what is let through.
    const Floats low = gate < kLeastGate ? Floats{} + kLeastGate : gate;
    const Floats bound = low > -kLeastGate ? Floats{} - kLeastGate : low;
    const Floats power = exp2(bound * kPerPower);
    const Floats share = 1.0f / (1.0f + power);
    return {gradient * up * share * (1.0f + bound * (power * share)), gradient * low * share};
  }
};

struct ReluSquaredGradient {
  static ONWARD_INLINE Floats of(Floats x, Floats gradient) {
    return 2.0f * (x < 0.0f ? Floats{} : x) * gradient;
  }
};

template <class Function>
ONWARD_INLINE void some_numbers(const float* x, const float* gradient, float* out, std::size_t n) {
  std::size_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    store(out + i, Function::of(load(x + i), load(gradient + i)));
  }
  float last[2][kLanes] = {};
  std::copy_n(x + i, n - i, last[0]);
  std::copy_n(gradient + i, n - i, last[1]);
  store(last[0], Function::of(load(last[0]), load(last[1])));
  std::copy_n(last[0], n - i, out + i);
}

using Numbers = void(const float* x, const float* gradient, float* out, std::size_t n);

// Clones are made of functions, not of templates.
ONWARD_EVERY_PROCESSOR void some_gelu(const float* x, const float* y, float* out, std::size_t n) {
  some_numbers<Gelu>(x, y, out, n);
}
ONWARD_EVERY_PROCESSOR void some_gelu_gradient(const float* x, const float* y, float* out,
                                               std::size_t n) {
  some_numbers<GeluGradient>(x, y, out, n);
}
ONWARD_EVERY_PROCESSOR void some_relu_squared(const float* x, const float* y, float* out,
                                              std::size_t n) {
  some_numbers<ReluSquared>(x, y, out, n);
}
ONWARD_EVERY_PROCESSOR void some_relu_squared_gradient(const float* x, const float* y, float* out,
                                                       std::size_t n) {
  some_numbers<ReluSquaredGradient>(x, y, out, n);
}

ONWARD_EVERY_PROCESSOR void some_swiglu(const float* gate, const float* up, float* out,
                                        std::size_t n) {
  some_numbers<Swiglu>(gate, up, out, n);
}

ONWARD_EVERY_PROCESSOR void some_swiglu_gradient(const float* gate, const float* up,
                                                 const float* gradient, float* gate_gradient,
                                                 float* up_gradient, std::size_t n) {
  std::size_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    const auto [of_gate, of_up] =
        SwigluGradient::of(load(gate + i), load(up + i), load(gradient + i));
    store(gate_gradient + i, of_gate);
    store(up_gradient + i, of_up);
  }
  float last[3][kLanes] = {};
  std::copy_n(gate + i, n - i, last[0]);
  std::copy_n(up + i, n - i, last[1]);
  std::copy_n(gradient + i, n - i, last[2]);
  const auto [of_gate, of_up] = SwigluGradient::of(load(last[0]), load(last[1]), load(last[2]));
  store(last[0], of_gate);
  store(last[1], of_up);
  std::copy_n(last[0], n - i, gate_gradient + i);
  std::copy_n(last[1], n - i, up_gradient + i);
}

void in_turns(Numbers* some, const float* x, const float* gradient, float* out, std::size_t n) {
#pragma omp parallel for schedule(static) if (n > kTurn)
  for (std::size_t i = 0; i < n; i += kTurn) {
    some(x + i, gradient + i, out + i, std::min(kTurn, n - i));
  }
}

}  // namespace

// An activation has no gradient to look at: it is given the numbers twice.
void gelu(const float* x, float* out, std::size_t n) { in_turns(some_gelu, x, x, out, n); }

void gelu_gradient(const float* x, const float* gradient, float* out, std::size_t n) {
  in_turns(some_gelu_gradient, x, gradient, out, n);
}

void relu_squared(const float* x, float* out, std::size_t n) {
  in_turns(some_relu_squared, x, x, out, n);
}

void relu_squared_gradient(const float* x, const float* gradient, float* out, std::size_t n) {
  in_turns(some_relu_squared_gradient, x, gradient, out, n);
}

void swiglu(const float* gate, const float* up, float* out, std::size_t n) {
  in_turns(some_swiglu, gate, up, out, n);
}

void swiglu_gradient(const float* gate, const float* up, const float* gradient,
                     float* gate_gradient, float* up_gradient, std::size_t n) {
#pragma omp parallel for schedule(static) if (n > kTurn)
  for (std::size_t i = 0; i < n; i += kTurn) {
    some_swiglu_gradient(gate + i, up + i, gradient + i, gate_gradient + i, up_gradient + i,
                         std::min(kTurn, n - i));
  }
}

}  // namespace onward
