// Small matrix products, 16 columns at a time, whose parts stay in the nearest cache.
#pragma once

#include <cstddef>

#include "floats.hpp"

namespace onward {

// The columns of a product: its vectors' lanes, so that nothing is ever summed across a vector.
inline constexpr std::size_t kColumns = 2 * kLanes;
// Rows a tile: 6 by 2 vectors of sums, 2 of columns and 1 of a row's number are nearly all
// registers there are.
inline constexpr std::size_t kTile = 6;

// Read number by number, so that it may as well be turned: a row for each column.
struct Matrix {
  const float* numbers;
  std::size_t n_rows, n_columns, row_stride, column_stride;
};

// out = matrix other for the first rows of a matrix; added to what `out` was times `fade`, if any.
// `other` and `out` have rows of 16 columns, each so many floats after the one before; `fade` has
// a number for each column.
template <std::size_t kRows>
ONWARD_INLINE void tile(const Matrix& matrix, const float* other, std::size_t other_stride,
                        const float* fade, float* out, std::size_t out_stride) {
  Floats left[kRows] = {}, right[kRows] = {};
  for (std::size_t i = 0; i < matrix.n_columns; ++i) {
    const float* column = matrix.numbers + i * matrix.column_stride;
    const Floats left_columns = load(other + i * other_stride);
    const Floats right_columns = load(other + i * other_stride + kLanes);
#pragma GCC unroll 8
    for (std::size_t r = 0; r < kRows; ++r) {
      left[r] += column[r * matrix.row_stride] * left_columns;
      right[r] += column[r * matrix.row_stride] * right_columns;
    }
  }
#pragma GCC unroll 8
  for (std::size_t r = 0; r < kRows; ++r, out += out_stride) {
    if (fade != nullptr) {
      left[r] += load(out) * load(fade);
      right[r] += load(out + kLanes) * load(fade + kLanes);
    }
    store(out, left[r]);
    store(out + kLanes, right[r]);
  }
}

// The same for all rows.
template <std::size_t kRows = kTile>
ONWARD_INLINE void multiply(Matrix matrix, const float* other, std::size_t other_stride,
                            const float* fade, float* out, std::size_t out_stride) {
  for (; matrix.n_rows >= kRows; matrix.n_rows -= kRows, out += kRows * out_stride) {
    tile<kRows>(matrix, other, other_stride, fade, out, out_stride);
    matrix.numbers += kRows * matrix.row_stride;
  }
  if constexpr (kRows > 1) {
    if (matrix.n_rows > 0) {
      multiply<kRows - 1>(matrix, other, other_stride, fade, out, out_stride);
    }
  }
}

}  // namespace onward
