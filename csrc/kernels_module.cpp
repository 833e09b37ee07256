// What Python sees of the kernels. Apart from module.cpp: they share torch's OpenMP threads, so
// this module is loaded after torch, while a tokenizer needs neither.
#include <nanobind/nanobind.h>

#include <cstdint>

#include "int8_linear.hpp"

namespace nb = nanobind;
using namespace nb::literals;

// Addresses of contiguous memory, since looking through a tensor costs more than a small product.
// The caller, model/linear.py, answers for their types and sizes.
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
}
