// What Python sees of the kernels. Apart from module.cpp: they share torch's OpenMP threads, so
// this module is loaded after torch, while a tokenizer needs neither.
#include <nanobind/nanobind.h>
#include <nanobind/stl/tuple.h>

#include <cstdint>
#include <tuple>

#include "activations.hpp"
#include "attention.hpp"
#include "int8_linear.hpp"
#include "vectors.hpp"

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

template <class Float>
Float* floats(std::uintptr_t address) {
  return reinterpret_cast<Float*>(address);
}

void define_elementwise(nb::module_& module) {
  const auto define = [&](const char* name, auto function) {
    module.def(
        name,
        [=](std::uintptr_t x, std::uintptr_t out, std::size_t n) {
          function(floats<const float>(x), floats<float>(out), n);
        },
        "x"_a, "out"_a, "n"_a, nb::call_guard<nb::gil_scoped_release>());
  };
  const auto define_gradient = [&](const char* name, auto function) {
    module.def(
        name,
        [=](std::uintptr_t x, std::uintptr_t gradient, std::uintptr_t out, std::size_t n) {
          function(floats<const float>(x), floats<const float>(gradient), floats<float>(out), n);
        },
        "x"_a, "gradient"_a, "out"_a, "n"_a, nb::call_guard<nb::gil_scoped_release>());
  };
  define("gelu", onward::gelu);
  define("relu_squared", onward::relu_squared);
  define_gradient("gelu_gradient", onward::gelu_gradient);
  define_gradient("relu_squared_gradient", onward::relu_squared_gradient);
  module.def(
      "swiglu",
      [](std::uintptr_t gate, std::uintptr_t up, std::uintptr_t out, std::size_t n) {
        onward::swiglu(floats<const float>(gate), floats<const float>(up), floats<float>(out), n);
      },
      "gate"_a, "up"_a, "out"_a, "n"_a, nb::call_guard<nb::gil_scoped_release>());
  module.def(
      "swiglu_gradient",
      [](std::uintptr_t gate, std::uintptr_t up, std::uintptr_t gradient,
         std::uintptr_t gate_gradient, std::uintptr_t up_gradient, std::size_t n) {
        onward::swiglu_gradient(floats<const float>(gate), floats<const float>(up),
                                floats<const float>(gradient), floats<float>(gate_gradient),
                                floats<float>(up_gradient), n);
      },
      "gate"_a, "up"_a, "gradient"_a, "gate_gradient"_a, "up_gradient"_a, "n"_a,
      nb::call_guard<nb::gil_scoped_release>());
}

void define_vectors(nb::module_& module) {
  module.def(
      "rms_norm",
      [](std::uintptr_t x, std::uintptr_t out, std::uintptr_t scale, std::size_t n,
         std::size_t size, float epsilon) {
        onward::rms_norm(floats<const float>(x), floats<float>(out), floats<float>(scale), n, size,
                         epsilon);
      },
      "x"_a, "out"_a, "scale"_a, "n"_a, "size"_a, "epsilon"_a,
      nb::call_guard<nb::gil_scoped_release>());
  module.def(
      "rms_norm_gradient",
      [](std::uintptr_t out, std::uintptr_t scale, std::uintptr_t gradient,
         std::uintptr_t x_gradient, std::size_t n, std::size_t size) {
        onward::rms_norm_gradient(floats<const float>(out), floats<const float>(scale),
                                  floats<const float>(gradient), floats<float>(x_gradient), n,
                                  size);
      },
      "out"_a, "scale"_a, "gradient"_a, "x_gradient"_a, "n"_a, "size"_a,
      nb::call_guard<nb::gil_scoped_release>());
  module.def(
      "rotate",
      [](const Place& x, const Place& out, std::uintptr_t cos, std::uintptr_t sin,
         std::size_t table_batch_stride, std::size_t n_batch, std::size_t n_heads,
         std::size_t n_positions, std::size_t d_head, bool backwards) {
        onward::rotate({
            .x = heads<const float>(x),
            .out = heads<float>(out),
            .cos = floats<const float>(cos),
            .sin = floats<const float>(sin),
            .table_batch_stride = table_batch_stride,
            .n_batch = n_batch,
            .n_heads = n_heads,
            .n_positions = n_positions,
            .d_head = d_head,
            .backwards = backwards,
        });
      },
      "x"_a, "out"_a, "cos"_a, "sin"_a, "table_batch_stride"_a, "n_batch"_a, "n_heads"_a,
      "n_positions"_a, "d_head"_a, "backwards"_a, nb::call_guard<nb::gil_scoped_release>());
}

void define_attention(nb::module_& module) {
  module.def(
      "attention",
      [](const Place& q, const Place& k, const Place& v, const Place& z, std::uintptr_t log_sum,
         std::size_t n_batch, std::size_t n_heads, std::size_t n_kv_heads, std::size_t n_queries,
         std::size_t n_keys, std::size_t d_head, std::size_t d_value, bool is_causal) {
        onward::attention({
            .q = heads<const float>(q),
            .k = heads<const float>(k),
            .v = heads<const float>(v),
            .z = heads<float>(z),
            .log_sum = floats<float>(log_sum),
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
      "q"_a, "k"_a, "v"_a, "z"_a, "log_sum"_a, "n_batch"_a, "n_heads"_a, "n_kv_heads"_a,
      "n_queries"_a, "n_keys"_a, "d_head"_a, "d_value"_a, "is_causal"_a,
      nb::call_guard<nb::gil_scoped_release>());
  module.def(
      "attention_gradient",
      [](const Place& q, const Place& k, const Place& v, const Place& z, const Place& z_gradient,
         std::uintptr_t log_sum, const Place& q_gradient, const Place& k_gradient,
         const Place& v_gradient, std::size_t n_batch, std::size_t n_heads, std::size_t n_kv_heads,
         std::size_t n_queries, std::size_t n_keys, std::size_t d_head, std::size_t d_value,
         bool is_causal) {
        onward::attention_gradient({
            .q = heads<const float>(q),
            .k = heads<const float>(k),
            .v = heads<const float>(v),
            .z = heads<const float>(z),
            .z_gradient = heads<const float>(z_gradient),
            .log_sum = floats<const float>(log_sum),
            .q_gradient = heads<float>(q_gradient),
            .k_gradient = heads<float>(k_gradient),
            .v_gradient = heads<float>(v_gradient),
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
      "q"_a, "k"_a, "v"_a, "z"_a, "z_gradient"_a, "log_sum"_a, "q_gradient"_a, "k_gradient"_a,
      "v_gradient"_a, "n_batch"_a, "n_heads"_a, "n_kv_heads"_a, "n_queries"_a, "n_keys"_a,
      "d_head"_a, "d_value"_a, "is_causal"_a, nb::call_guard<nb::gil_scoped_release>());
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
  define_attention(module);
  define_elementwise(module);
  define_vectors(module);
}
