#include "int8_linear.hpp"

#include <algorithm>
#include <cstring>

// The best of these that the processor has is taken when the library is loaded; elsewhere, the
// compiler's baseline.
#if defined(__x86_64__) && defined(__linux__)
#define ONWARD_EVERY_PROCESSOR __attribute__((target_clones("arch=x86-64-v3", "default")))
#else
#define ONWARD_EVERY_PROCESSOR
#endif
#define ONWARD_INLINE __attribute__((always_inline)) inline

namespace onward {
namespace {

constexpr std::size_t kLanes = 8;
using Floats = float __attribute__((vector_size(kLanes * sizeof(float))));
using Ints = std::int32_t __attribute__((vector_size(kLanes * sizeof(std::int32_t))));

ONWARD_INLINE Floats widened(const std::int8_t* bytes) {
  Ints ints;
#pragma GCC unroll 8  // written so, it is one instruction
  for (std::size_t lane = 0; lane < kLanes; ++lane) ints[lane] = bytes[lane];
  return __builtin_convertvector(ints, Floats);
}

// Rows [row, row + kRows) of x with weights [column, column + kColumns): each number that is loaded
// is used several times, and as many sums run side by side as there are registers.
template <std::size_t kRows, std::size_t kColumns>
ONWARD_INLINE void tile(const Int8Linear& job, std::size_t row, std::size_t column) {
  Floats sums[kRows][kColumns] = {};
  const std::size_t n_whole = job.n_in / kLanes * kLanes;
  for (std::size_t k = 0; k < n_whole; k += kLanes) {
    Floats weights[kColumns];
#pragma GCC unroll 8
    for (std::size_t c = 0; c < kColumns; ++c) {
      weights[c] = widened(job.weight + (column + c) * job.n_in + k);
    }
#pragma GCC unroll 8
    for (std::size_t r = 0; r < kRows; ++r) {
      Floats x;
      std::memcpy(&x, job.x + (row + r) * job.n_in + k, sizeof(x));
#pragma GCC unroll 8
      for (std::size_t c = 0; c < kColumns; ++c) sums[r][c] += x * weights[c];
    }
  }
#pragma GCC unroll 8
  for (std::size_t r = 0; r < kRows; ++r) {
#pragma GCC unroll 8
    for (std::size_t c = 0; c < kColumns; ++c) {
      float sum = 0;
      for (std::size_t lane = 0; lane < kLanes; ++lane) sum += sums[r][c][lane];
      for (std::size_t k = n_whole; k < job.n_in; ++k) {
        sum += job.x[(row + r) * job.n_in + k] *
               static_cast<float>(job.weight[(column + c) * job.n_in + k]);
      }
      sum *= job.scale[column + c];
      job.out[(row + r) * job.n_out + column + c] =
          job.bias == nullptr ? sum : sum + job.bias[column + c];
    }
  }
}

template <std::size_t kRows, std::size_t kColumns>
ONWARD_INLINE void tiles(const Int8Linear& job, std::size_t row, std::size_t first,
                         std::size_t last) {
  std::size_t column = first;
  for (; column + kColumns <= last; column += kColumns) tile<kRows, kColumns>(job, row, column);
  for (; column < last; ++column) tile<kRows, 1>(job, row, column);
}

// The weights of a few columns stay in the cache while all rows pass over them.
ONWARD_EVERY_PROCESSOR void columns(const Int8Linear& job, std::size_t first, std::size_t last) {
  std::size_t row = 0;
  for (; row + 4 <= job.n_rows; row += 4) tiles<4, 3>(job, row, first, last);
  for (; row < job.n_rows; ++row) tiles<1, 4>(job, row, first, last);
}

}  // namespace

void int8_linear(const Int8Linear& job) {
  constexpr std::size_t kChunk =
      96;  // weights a turn: few enough to share out evenly, enough to be worth a turn
  const std::size_t n_chunks = (job.n_out + kChunk - 1) / kChunk;
#pragma omp parallel for schedule(static)
  for (std::size_t chunk = 0; chunk < n_chunks; ++chunk) {
    columns(job, chunk * kChunk, std::min(job.n_out, (chunk + 1) * kChunk));
  }
}

}  // namespace onward
