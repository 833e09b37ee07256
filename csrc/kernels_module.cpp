// What Python sees of the kernels. Apart from module.cpp: they share torch's OpenMP threads, so
// this module is loaded after torch, while a tokenizer needs neither.
#include <nanobind/nanobind.h>
#include <nanobind/stl/tuple.h>

#include <cstdint>
#include <tuple>

#include "attention.hpp"
#include "gelu.hpp"
#include "int8_linear.hpp"

namespace nb = nanobind;
using namespace nb::literals;

namespace {

// The address, and the strides of batch, head and position.
using Place = std::tuple<std::uintptr_t, std::tuple<std::size_t, std::size_t, std::size_t>>;

template <class Float>
onward::Heads<Float> heads(const Place& place) {
  const auto& [address, strides] = place;
  const auto [batch, head, pos] = strides;
  return {reinterpret_cast<Float*>(address), batch, head, pos};
}

}  // namespace

// Addresses of contiguous memory, since looking through a tensor costs more than a small product.
// The callers, model/kernels.py and model/linear.py, answer for their types and sizes.
NB_MODULE(_kernels, module) {
  module.def(
      "int8_linear",
      [](std::uintptr_t x, std::uintptr_t weight, std::uintptr_t scale, std::uintptr_t bias,
         std::uintptr_t out, std::size_t n_rows, std::size_t n_in, std::size_t n_out) {
        onward::int8_linear({
            .x = reinterpret_cast<const float*>(x),
            .weight = reinterpret_cast<const std::int8_t*>(weight),
            .scale = reinterpret_cast<const float*>(scale),
            .bias = reinterpret_cast<const float*>(bias),
            .out = reinterpret_cast<float*>(out),
            .n_rows = n_rows,
            .n_in = n_in,
            .n_out = n_out,
        });
      },
      "x"_a, "weight"_a, "scale"_a, "bias"_a, "out"_a, "n_rows"_a, "n_in"_a, "n_out"_a,
      nb::call_guard<nb::gil_scoped_release>());
  module.def(
      "attention",
      [](const Place& q, const Place& k, const Place& v, const Place& z, std::size_t n_batch,
         std::size_t n_heads, std::size_t n_kv_heads, std::size_t n_queries, std::size_t n_keys,
         std::size_t d_head, std::size_t d_value, bool is_causal) {
        onward::attention({
            .q = heads<const float>(q),
            .k = heads<const float>(k),
            .v = heads<const float>(v),
            .z = heads<float>(z),
            .n_batch = n_batch,
            .n_heads = n_heads,
            .n_kv_heads = n_kv_heads,
            .n_queries = n_queries,
            .n_keys = n_keys,
            .d_head = d_head,
            .d_value = d_value,
            .is_causal = is_causal,
        });
      },
      "q"_a, "k"_a, "v"_a, "z"_a, "n_batch"_a, "n_heads"_a, "n_kv_heads"_a, "n_queries"_a,
      "n_keys"_a, "d_head"_a, "d_value"_a, "is_causal"_a, nb::call_guard<nb::gil_scoped_release>());
  module.def(
      "gelu",
      [](std::uintptr_t x, std::uintptr_t out, std::size_t n) {
        onward::gelu(reinterpret_cast<const float*>(x), reinterpret_cast<float*>(out), n);
      },
      "x"_a, "out"_a, "n"_a, nb::call_guard<nb::gil_scoped_release>());
}
