#include <algorithm>
#include <cmath>
#include <memory>

#include "attention.hpp"
#include "floats.hpp"
#include "products.hpp"

namespace onward {
namespace {

// Queries and keys whose weights are held at a time, and of which the sums over either are long
// enough to be worth a tile's loads and stores.
constexpr std::size_t kBlock = 64;
constexpr float kLog2E = 1.4426950408889634f;

constexpr std::size_t whole(std::size_t n) { return (n + kColumns - 1) / kColumns * kColumns; }

// Rows for vectors of one block or of all positions, filled up with zeros to whole columns.
class Rows {
 public:
  Rows(std::size_t n, std::size_t width) : width_(whole(width)), memory_(new float[n * width_]()) {}
  float* at(std::size_t row) { return memory_.get() + row * width_; }
  std::size_t width() const { return width_; }
  void clear(std::size_t n) { std::fill_n(memory_.get(), n * width_, 0.0f); }

 private:
  std::size_t width_;
  std::unique_ptr<float[]> memory_;
};

// out += matrix rows, all columns of them.
ONWARD_INLINE void add_product(const Matrix& matrix, Rows& rows, float* out) {
  constexpr float kAll[kColumns] = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1};
  for (std::size_t column = 0; column < rows.width(); column += kColumns) {
    multiply(matrix, rows.at(0) + column, rows.width(), kAll, out + column, rows.width());
  }
}

// One head of keys and values, with all heads of queries that look at it.
class Head {
 public:
  Head(const AttentionGradient& job, std::size_t batch, std::size_t kv_head)
      : job_(job),
        batch_(batch),
        kv_head_(kv_head),
        scale_(1.0f / std::sqrt(static_cast<float>(job.d_head))),
        k_sums_(job.n_keys, job.d_head),
        v_sums_(job.n_keys, job.d_value),
        q_(kBlock, job.d_head),
        z_(kBlock, job.d_value),
        q_sums_(kBlock, job.d_head),
        keys_(kBlock, job.d_head),
        turned_q_(job.d_head, kBlock),
        turned_z_(job.d_value, kBlock),
        weights_(kBlock, kBlock),
        slopes_(kBlock, kBlock) {}

  ONWARD_INLINE void run() {
    const std::size_t group = job_.n_heads / job_.n_kv_heads;
    for (std::size_t head = kv_head_ * group; head < (kv_head_ + 1) * group; ++head) {
      for (std::size_t first = 0; first < job_.n_queries; first += kBlock) queries(head, first);
    }
    for (std::size_t key = 0; key < job_.n_keys; ++key) {
      // The queries were in units of ln 2.
      const float unit = 1.0f / kLog2E;
      float* k = job_.k_gradient.at(batch_, kv_head_, key);
      for (std::size_t d = 0; d < job_.d_head; ++d) k[d] = k_sums_.at(key)[d] * unit;
      std::copy_n(v_sums_.at(key), job_.d_value, job_.v_gradient.at(batch_, kv_head_, key));
    }
  }

 private:
  // Query `first` of a head and those after it, with every key that they see.
  ONWARD_INLINE void queries(std::size_t head, std::size_t first) {
    const std::size_t n = std::min(kBlock, job_.n_queries - first);
    const std::size_t position = job_.n_keys - job_.n_queries + first;  // of the first
    const std::size_t n_keys = job_.is_causal ? position + n : job_.n_keys;
    gather(head, first, n);
    for (std::size_t key = 0; key < n_keys; key += kBlock) {
      const std::size_t n_block = std::min(kBlock, n_keys - key);
      weigh(key, n_block, job_.is_causal ? position : job_.n_keys);
      add_product({weights_.at(0), n_block, n, kBlock, 1}, z_, v_sums_.at(key));
      add_product({slopes_.at(0), n_block, n, kBlock, 1}, q_, k_sums_.at(key));
      for (std::size_t i = 0; i < n_block; ++i) {
        std::copy_n(job_.k.at(batch_, kv_head_, key + i), job_.d_head, keys_.at(i));
      }
      add_product({slopes_.at(0), n, n_block, 1, kBlock}, keys_, q_sums_.at(0));
    }
    for (std::size_t i = 0; i < n; ++i) {
      float* out = job_.q_gradient.at(batch_, head, first + i);
      for (std::size_t d = 0; d < job_.d_head; ++d) out[d] = q_sums_.at(i)[d] * scale_;
    }
  }

  // The block's queries and gradients of z, as they lie and turned, and what is taken from each
  // slope: z's share in the gradient.
  ONWARD_INLINE void gather(std::size_t head, std::size_t first, std::size_t n) {
    for (Rows* rows : {&q_, &z_, &q_sums_}) rows->clear(kBlock);
    turned_q_.clear(job_.d_head);
    turned_z_.clear(job_.d_value);
    std::fill_n(log_sum_, kBlock, 0.0f);
    std::fill_n(share_, kBlock, 0.0f);
    for (std::size_t i = 0; i < n; ++i) {
      const float* q = job_.q.at(batch_, head, first + i);
      const float* z = job_.z.at(batch_, head, first + i);
      const float* gradient = job_.z_gradient.at(batch_, head, first + i);
      for (std::size_t d = 0; d < job_.d_head; ++d) {
        turned_q_.at(d)[i] = q_.at(i)[d] = q[d] * (scale_ * kLog2E);
      }
      for (std::size_t d = 0; d < job_.d_value; ++d) {
        turned_z_.at(d)[i] = z_.at(i)[d] = gradient[d];
        share_[i] += gradient[d] * z[d];
      }
      log_sum_[i] = job_.log_sum[(batch_ * job_.n_heads + head) * job_.n_queries + first + i];
    }
  }

  // Weights and slopes of a block of keys: a row for each key, a column for each query. The first
  // query sees no key after `position`, the next one key more.
  ONWARD_INLINE void weigh(std::size_t key, std::size_t n, std::size_t position) {
    const Matrix keys = {job_.k.at(batch_, kv_head_, key), n, job_.d_head, job_.k.pos_stride, 1};
    const Matrix values = {job_.v.at(batch_, kv_head_, key), n, job_.d_value, job_.v.pos_stride, 1};
    for (std::size_t column = 0; column < kBlock; column += kColumns) {
      multiply(keys, turned_q_.at(0) + column, kBlock, nullptr, weights_.at(0) + column, kBlock);
      multiply(values, turned_z_.at(0) + column, kBlock, nullptr, slopes_.at(0) + column, kBlock);
    }
    for (std::size_t i = 0; i < n; ++i) {
      float *weights = weights_.at(i), *slopes = slopes_.at(i);
      for (std::size_t column = 0; column < kBlock; column += kLanes) {
        const Floats weight = exp2(load(weights + column) - load(log_sum_ + column));
        store(weights + column, weight);
        store(slopes + column, weight * (load(slopes + column) - load(share_ + column)));
      }
      const std::size_t n_blind = key + i > position ? std::min(key + i - position, kBlock) : 0;
      std::fill_n(weights, n_blind, 0.0f);
      std::fill_n(slopes, n_blind, 0.0f);
    }
  }

  const AttentionGradient& job_;
  const std::size_t batch_, kv_head_;
  const float scale_;
  Rows k_sums_, v_sums_;        // of all keys
  Rows q_, z_, q_sums_, keys_;  // of a block; z_: the gradient of z
  Rows turned_q_, turned_z_;    // a column for each query
  Rows weights_, slopes_;       // slopes: the gradients of the scores
  float log_sum_[kBlock], share_[kBlock];
};

ONWARD_EVERY_PROCESSOR void one_head(const AttentionGradient& job, std::size_t batch,
                                     std::size_t kv_head) {
  Head(job, batch, kv_head).run();
}

}  // namespace

void attention_gradient(const AttentionGradient& job) {
#pragma omp parallel for schedule(dynamic)
  for (std::size_t row = 0; row < job.n_batch * job.n_kv_heads; ++row) {
    one_head(job, row / job.n_kv_heads, row % job.n_kv_heads);
  }
}

}  // namespace onward
