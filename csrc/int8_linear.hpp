// Products with int8 weights: out = (x weight^T) * scale + bias, summed in float32.
#pragma once

#include <cstddef>
#include <cstdint>

namespace onward {

// Matrices are row-major: x (n_rows, n_in), scale and bias (n_out), out (n_rows, n_out). But the
// weight, (n_out, n_in), lies in panels of kPanel of its rows: four numbers of the first row, four
// of the second and so on, then the next four of each. Rows and fours are filled up with zeros.
inline constexpr std::size_t kPanel = 16;

struct Int8Linear {
  const float* x;
  const std::int8_t* weight;
  const float* scale;
  const float* bias;  // nullptr: none
  float* out;
  std::size_t n_rows, n_in, n_out;
};

// A row of `out` is the same, bit for bit, whatever rows it shares a call with. Uses OpenMP's
// threads, which are torch's where torch was loaded first.
void int8_linear(const Int8Linear& job);

}  // namespace onward
