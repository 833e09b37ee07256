#include "attention.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>

#include "floats.hpp"
#include "products.hpp"

namespace onward {
namespace {

// A turn of a thread: so many queries, which are the columns of all products, so that keys and
// values are read as they lie.
constexpr std::size_t kQueries = kColumns;
// Keys whose scores are held at a time; their values stay in the nearest cache.
constexpr std::size_t kKeys = 48;
constexpr float kHidden = -std::numeric_limits<float>::infinity();

// A number of each query.
struct alignas(64) Queries {
  float of[kQueries];
};

ONWARD_INLINE Floats larger(Floats a, Floats b) { return a > b ? a : b; }

// The softmax of what was seen so far (Milakov and Gimelshein, Online normalizer calculation for
// softmax, 2018): when a larger score comes, what was summed under the old one fades.
struct Softmax {
  Queries largest, sum, fade;

  // Makes weights of scores.
  ONWARD_INLINE void weigh(Queries* scores, std::size_t n) {
    for (std::size_t half = 0; half < kQueries; half += kLanes) {
      const Floats before = load(largest.of + half);
      Floats now = before;
      for (std::size_t i = 0; i < n; ++i) now = larger(load(scores[i].of + half), now);
      Floats added = {};
      for (std::size_t i = 0; i < n; ++i) {
        const Floats weight = exp2(load(scores[i].of + half) - now);
        store(scores[i].of + half, weight);
        added += weight;
      }
      const Floats faded = exp2(before - now);
      store(fade.of + half, faded);
      store(sum.of + half, load(sum.of + half) * faded + added);
      store(largest.of + half, now);
    }
  }
};

// Query `first` of a head and those after it. Scores are in units of ln 2: powers of 2 are simpler.
ONWARD_EVERY_PROCESSOR void some_queries(const Attention& job, std::size_t batch, std::size_t head,
                                         std::size_t first) {
  const std::size_t kv_head = head / (job.n_heads / job.n_kv_heads);
  const std::size_t n = std::min(kQueries, job.n_queries - first);
  const std::size_t position = job.n_keys - job.n_queries + first;  // of the first
  const std::size_t n_keys = job.is_causal ? position + n : job.n_keys;
  const std::unique_ptr<Queries[]> memory(new Queries[job.d_head + job.d_value]());
  Queries *const q = memory.get(), *const z = q + job.d_head;
  const float scale = 1.4426950408889634f / std::sqrt(static_cast<float>(job.d_head));
  for (std::size_t i = 0; i < n; ++i) {
    const float* query = job.q.at(batch, head, first + i);
    for (std::size_t d = 0; d < job.d_head; ++d) q[d].of[i] = query[d] * scale;
  }
  Queries scores[kKeys];
  Softmax softmax = {};
  std::fill_n(softmax.largest.of, kQueries, kHidden);
  for (std::size_t key = 0; key < n_keys; key += kKeys) {
    const std::size_t n_block = std::min(kKeys, n_keys - key);
    const Matrix keys = {job.k.at(batch, kv_head, key), n_block, job.d_head, job.k.pos_stride, 1};
    multiply(keys, q->of, kQueries, nullptr, scores->of, kQueries);
    for (std::size_t i = 0; job.is_causal && i < n_block; ++i) {
      if (key + i > position) std::fill_n(scores[i].of, key + i - position, kHidden);
    }
    softmax.weigh(scores, n_block);
    const Matrix values = {job.v.at(batch, kv_head, key), job.d_value, n_block, 1,
                           job.v.pos_stride};
    multiply(values, scores->of, kQueries, softmax.fade.of, z->of, kQueries);
  }
  for (std::size_t i = 0; i < n; ++i) {
    float* out = job.z.at(batch, head, first + i);
    for (std::size_t d = 0; d < job.d_value; ++d) out[d] = z[d].of[i] / softmax.sum.of[i];
    if (job.log_sum != nullptr) {
      job.log_sum[(batch * job.n_heads + head) * job.n_queries + first + i] =
          softmax.largest.of[i] + std::log2(softmax.sum.of[i]);
    }
  }
}

}  // namespace

void attention(const Attention& job) {
  const std::size_t n_turns = (job.n_queries + kQueries - 1) / kQueries;
#pragma omp parallel for schedule(dynamic, 8)
  for (std::size_t turn = 0; turn < job.n_batch * job.n_heads * n_turns; ++turn) {
    const std::size_t row = turn / n_turns;
    some_queries(job, row / job.n_heads, row % job.n_heads, turn % n_turns * kQueries);
  }
}

}  // namespace onward
