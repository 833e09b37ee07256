// Attention: softmax(q k^T / sqrt(d_head)) v in float32, without ever holding the pattern.
#pragma once

#include <cstddef>

namespace onward {

// Vectors by batch, head and position, each so many floats after the one before; the numbers of one
// vector lie together.
template <class Float>
struct Heads {
  Float* numbers;
  std::size_t batch_stride, head_stride, pos_stride;

  Float* at(std::size_t batch, std::size_t head, std::size_t pos) const {
    return numbers + batch * batch_stride + head * head_stride + pos * pos_stride;
  }
};

struct Attention {
  Heads<const float> q, k, v;
  Heads<float> z;
  // For the way back, of each query: the logarithm to base 2 of the sum of its exponentials, by
  // batch, head and position; nullptr: not wanted.
  float* log_sum;
  std::size_t n_batch, n_heads, n_kv_heads, n_queries, n_keys, d_head, d_value;
  bool is_causal;  // the queries are the last of the positions, and see no key after their own
};

// A vector of `z` is the same, bit for bit, whatever others it shares a call with. Uses OpenMP's
// threads, which are torch's where torch was loaded first.
void attention(const Attention& job);

// The way back: what it took and gave, the gradient of z, and where those of q, k and v go.
struct AttentionGradient {
  Heads<const float> q, k, v, z, z_gradient;
  const float* log_sum;
  Heads<float> q_gradient, k_gradient, v_gradient;
  std::size_t n_batch, n_heads, n_kv_heads, n_queries, n_keys, d_head, d_value;
  bool is_causal;
};

// The weights are made anew from q, k and log_sum (Dao et al., FlashAttention, 2022). The sums are
// made in the same order on any number of threads.
void attention_gradient(const AttentionGradient& job);

}  // namespace onward
