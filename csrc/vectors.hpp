// What is done to each vector of a model on its own: norm and turn; in one pass over memory.
#pragma once

#include <cstddef>

#include "attention.hpp"

namespace onward {

// All use OpenMP's threads, which are torch's where torch was loaded first.

// Each of n vectors divided by its root mean square; `scale` keeps what each was multiplied by.
void rms_norm(const float* x, float* out, float* scale, std::size_t n, std::size_t size,
              float epsilon);
// The way back, from what came out.
void rms_norm_gradient(const float* out, const float* scale, const float* gradient,
                       float* x_gradient, std::size_t n, std::size_t size);

// Rotary positions: number i of a vector's first half and number i of its second half are turned
// by the angle whose cosine and sine are given for position and i; backwards, if so asked.
struct Rotation {
  Heads<const float> x;
  Heads<float> out;
  const float *cos, *sin;
  std::size_t table_batch_stride;  // between the tables of two rows; 0: one table for all
  std::size_t n_batch, n_heads, n_positions, d_head;
  bool backwards;
};
void rotate(const Rotation& job);

}  // namespace onward
