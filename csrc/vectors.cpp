#include "vectors.hpp"

#include <cmath>

#include "floats.hpp"

namespace onward {
namespace {

// Numbers below which another thread is not worth waking.
constexpr std::size_t kTurn = 8192;

ONWARD_INLINE float sum(Floats lanes) {
  float total = 0.0f;
  for (std::size_t i = 0; i < kLanes; ++i) total += lanes[i];
  return total;
}

// The inner product.
ONWARD_INLINE float product(const float* x, const float* y, std::size_t size) {
  Floats even = {}, odd = {};  // two sums, for one would wait for itself
  std::size_t i = 0;
  for (; i + 2 * kLanes <= size; i += 2 * kLanes) {
    even += load(x + i) * load(y + i);
    odd += load(x + i + kLanes) * load(y + i + kLanes);
  }
  float total = sum(even + odd);
  for (; i < size; ++i) total += x[i] * y[i];
  return total;
}

ONWARD_EVERY_PROCESSOR void norm_one(const float* x, float* out, float* scale, std::size_t size,
                                     float epsilon) {
  *scale = 1.0f / std::sqrt(product(x, x, size) / static_cast<float>(size) + epsilon);
  for (std::size_t i = 0; i < size; ++i) out[i] = x[i] * *scale;
}

ONWARD_EVERY_PROCESSOR void norm_one_gradient(const float* out, float scale, const float* gradient,
                                              float* x_gradient, std::size_t size) {
  // What would only make the vector longer or shorter is lost.
  const float along = product(out, gradient, size) / static_cast<float>(size);
  for (std::size_t i = 0; i < size; ++i) x_gradient[i] = (gradient[i] - out[i] * along) * scale;
}

ONWARD_EVERY_PROCESSOR void rotate_one(const float* x, float* out, const float* cos,
                                       const float* sin, std::size_t half, float sign) {
  const float* second = x + half;
  for (std::size_t i = 0; i < half; ++i) {
    const float turn = sign * sin[i], kept = cos[i], left = x[i], right = second[i];
    out[i] = left * kept - right * turn;
    out[i + half] = right * kept + left * turn;
  }
}

}  // namespace

void rms_norm(const float* x, float* out, float* scale, std::size_t n, std::size_t size,
              float epsilon) {
#pragma omp parallel for schedule(static) if (n * size > kTurn)
  for (std::size_t i = 0; i < n; ++i) {
    norm_one(x + i * size, out + i * size, scale + i, size, epsilon);
  }
}

void rms_norm_gradient(const float* out, const float* scale, const float* gradient,
                       float* x_gradient, std::size_t n, std::size_t size) {
#pragma omp parallel for schedule(static) if (n * size > kTurn)
  for (std::size_t i = 0; i < n; ++i) {
    norm_one_gradient(out + i * size, scale[i], gradient + i * size, x_gradient + i * size, size);
  }
}

void rotate(const Rotation& job) {
  const std::size_t half = job.d_head / 2, n_rows = job.n_batch * job.n_positions;
  const float sign = job.backwards ? -1.0f : 1.0f;
#pragma omp parallel for schedule(static) if (n_rows * job.n_heads * job.d_head > kTurn)
  for (std::size_t row = 0; row < n_rows; ++row) {
    const std::size_t batch = row / job.n_positions, pos = row % job.n_positions;
    const std::size_t table = batch * job.table_batch_stride + pos * half;
    for (std::size_t head = 0; head < job.n_heads; ++head) {
      rotate_one(job.x.at(batch, head, pos), job.out.at(batch, head, pos), job.cos + table,
                 job.sin + table, half, sign);
    }
  }
}

}  // namespace onward
