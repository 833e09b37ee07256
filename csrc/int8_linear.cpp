#include "int8_linear.hpp"

#include <algorithm>
#include <cstring>
#include <memory>
#ifdef _OPENMP
#include <omp.h>
#endif

#include "floats.hpp"

namespace onward {
namespace {

constexpr std::size_t kFour = 4;  // numbers of a weight's row that lie together
using Fours = std::int32_t __attribute__((vector_size(kLanes * kFour)));

// Sums run over this many inputs, then are added to what is in `out`: so much of a panel, widened,
// stays in the nearest cache while the rows pass over it.
constexpr std::size_t kBlock = 256;
// So much of so many rows of x stays in the second cache while the panels pass over it.
constexpr std::size_t kMostRows = 192;
// Panels a turn of a thread: few enough to share out evenly. With one row, as many sums as these
// have run side by side.
constexpr std::size_t kGroup = 4;
constexpr std::size_t kManyRows = 64;
// Rows a tile: 6 by 2 vectors of sums, 2 of weights and 1 of x are nearly all registers there are.
constexpr std::size_t kTile = 6;

ONWARD_INLINE Fours load_fours(const std::int8_t* numbers) {
  Fours loaded;
  std::memcpy(&loaded, numbers, sizeof(loaded));
  return loaded;
}

// The number at `place` of each four, of which the first is in the lowest bits.
ONWARD_INLINE Floats widened(Fours fours, std::size_t place) {
  const int unwanted = static_cast<int>(kFour - 1 - place) * 8;
  return __builtin_convertvector(fours << unwanted >> 24, Floats);
}

std::size_t n_threads() {
#ifdef _OPENMP
  return static_cast<std::size_t>(omp_get_max_threads());
#else
  return 1;
#endif
}

std::size_t fours_in(std::size_t n) { return (n + kFour - 1) / kFour; }

// Inputs [first, last) of a job; `first` is a multiple of kBlock.
struct Block {
  std::size_t first, last;
};

// Where a block of a panel begins.
ONWARD_INLINE const std::int8_t* weights_of(const Int8Linear& job, std::size_t panel, Block block) {
  return job.weight + (panel * fours_in(job.n_in) * kFour + block.first) * kPanel;
}

// Adds a block's sums of a row and kLanes columns to `out`; after the last block, it is whole.
ONWARD_INLINE void add(const Int8Linear& job, Block block, std::size_t row, std::size_t column,
                       Floats sums) {
  float* out = job.out + row * job.n_out;
  if (column + kLanes <= job.n_out) {
    if (block.first > 0) sums += load(out + column);
    if (block.last == job.n_in) {
      sums *= load(job.scale + column);
      if (job.bias != nullptr) sums += load(job.bias + column);
    }
    store(out + column, sums);
    return;
  }
  for (std::size_t lane = 0; column < job.n_out; ++lane, ++column) {
    float sum = block.first > 0 ? out[column] + sums[lane] : sums[lane];
    if (block.last == job.n_in) {
      sum *= job.scale[column];
      if (job.bias != nullptr) sum += job.bias[column];
    }
    out[column] = sum;
  }
}

// Rows [row, row + kRows) with a block of a panel; the block's numbers of `x` are kBlock a row.
template <std::size_t kRows>
ONWARD_INLINE void tile(const Int8Linear& job, Block block, std::size_t row, std::size_t panel,
                        const float* x, const float* weights) {
  const std::size_t column = panel * kPanel;
  for (std::size_t r = 0; r < kRows; ++r) {
    __builtin_prefetch(job.out + (row + r) * job.n_out + column, 1);
  }
  Floats left[kRows] = {}, right[kRows] = {};
  for (std::size_t k = 0; k < block.last - block.first; ++k) {
    const Floats left_weights = load(weights + k * kPanel);
    const Floats right_weights = load(weights + k * kPanel + kLanes);
#pragma GCC unroll 8
    for (std::size_t r = 0; r < kRows; ++r) {
      left[r] += x[r * kBlock + k] * left_weights;
      right[r] += x[r * kBlock + k] * right_weights;
    }
  }
#pragma GCC unroll 8
  for (std::size_t r = 0; r < kRows; ++r) {
    add(job, block, row + r, column, left[r]);
    add(job, block, row + r, column + kLanes, right[r]);
  }
}

// The rows that are left when all whole tiles are done.
template <std::size_t kRows>
ONWARD_INLINE void last_rows(const Int8Linear& job, Block block, std::size_t n, std::size_t row,
                             std::size_t panel, const float* x, const float* weights) {
  if constexpr (kRows > 0) {
    if (n == kRows) return tile<kRows>(job, block, row, panel, x, weights);
    last_rows<kRows - 1>(job, block, n, row, panel, x, weights);
  }
}

// A block of a panel as floats, kPanel for each input.
ONWARD_INLINE void widen(const Int8Linear& job, Block block, std::size_t panel, float* floats) {
  const std::int8_t* weights = weights_of(job, panel, block);
  const std::size_t n = fours_in(block.last - block.first) * kFour * kPanel;
  for (std::size_t i = 0; i < n; i += kFour * kPanel) {
    for (std::size_t half = 0; half < kPanel; half += kLanes) {
      const Fours fours = load_fours(weights + i + half * kFour);
#pragma GCC unroll 4
      for (std::size_t place = 0; place < kFour; ++place) {
        store(floats + i + place * kPanel + half, widened(fours, place));
      }
    }
  }
}

// Any number of rows with panels [first, last): a block of x is laid together, each panel's block
// is widened once, and all rows pass over it.
ONWARD_EVERY_PROCESSOR void many_rows(const Int8Linear& job, std::size_t first, std::size_t last) {
  const std::unique_ptr<float[]> x(new float[std::min(job.n_rows, kMostRows) * kBlock]);
  alignas(64) float floats[kBlock * kPanel];
  for (std::size_t top = 0; top < job.n_rows; top += kMostRows) {
    const std::size_t bottom = std::min(job.n_rows, top + kMostRows);
    for (std::size_t k = 0; k < job.n_in; k += kBlock) {
      const Block block = {k, std::min(job.n_in, k + kBlock)};
      for (std::size_t row = top; row < bottom; ++row) {
        std::copy_n(job.x + row * job.n_in + k, block.last - k, x.get() + (row - top) * kBlock);
      }
      for (std::size_t panel = first; panel < last; ++panel) {
        widen(job, block, panel, floats);
        std::size_t row = top;
        const float* of_row = x.get();
        for (; row + kTile <= bottom; row += kTile, of_row += kTile * kBlock) {
          tile<kTile>(job, block, row, panel, of_row, floats);
        }
        last_rows<kTile - 1>(job, block, bottom - row, row, panel, of_row, floats);
      }
    }
  }
}

// One row of whole fours with a group of panels: it waits for memory, so weights are widened on
// their way.
ONWARD_EVERY_PROCESSOR void one_row(const Int8Linear& job, std::size_t panel) {
  constexpr std::size_t kVectors = kGroup * kPanel / kLanes;
  for (std::size_t k = 0; k < job.n_in; k += kBlock) {
    const Block block = {k, std::min(job.n_in, k + kBlock)};
    const std::int8_t* weights = weights_of(job, panel, block);
    Floats sums[kVectors] = {};
    for (std::size_t i = 0; i < block.last - k; i += kFour) {
      const float* x = job.x + k + i;
#pragma GCC unroll 8
      for (std::size_t v = 0; v < kVectors; ++v) {
        const std::size_t in_panel = i * kPanel + v % 2 * kLanes * kFour;
        const Fours fours = load_fours(weights + v / 2 * job.n_in * kPanel + in_panel);
#pragma GCC unroll 4
        for (std::size_t place = 0; place < kFour; ++place) {
          sums[v] += x[place] * widened(fours, place);
        }
      }
    }
#pragma GCC unroll 8
    for (std::size_t v = 0; v < kVectors; ++v) {
      add(job, block, 0, panel * kPanel + v * kLanes, sums[v]);
    }
  }
}

}  // namespace

void int8_linear(const Int8Linear& job) {
  const std::size_t n_panels = (job.n_out + kPanel - 1) / kPanel;
  // With many rows, a thread does all its panels in one turn, so that it lays x together once.
  const std::size_t turn = job.n_rows < kManyRows ? kGroup : (n_panels - 1) / n_threads() + 1;
#pragma omp parallel for schedule(static)
  for (std::size_t panel = 0; panel < n_panels; panel += turn) {
    if (job.n_rows == 1 && job.n_in % kFour == 0 && panel + kGroup <= n_panels) {
      one_row(job, panel);
    } else {
      many_rows(job, panel, std::min(n_panels, panel + turn));
    }
  }
}

}  // namespace onward
