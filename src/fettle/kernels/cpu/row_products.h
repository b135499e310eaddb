// A few rows against many rows of weights: what decoding is made of. One source (row_products.inc), compiled
// for several instruction sets as vector_kernels.h says. A weight is read once, converted in registers, and
// meets every x.
#pragma once
#include <cstdint>

namespace fettle::cpu {

/// Most rows of x that the kernels take.
inline constexpr int64_t kFewRows = 4;
/// Rows of x are padded with zeros to a multiple of this. A sum runs in so many lanes, which are then added
/// by halves, whatever the instruction set.
inline constexpr int64_t kRowLanes = 64;
inline int64_t padded_row(int64_t k) {
  return (k + kRowLanes - 1) / kRowLanes * kRowLanes;
}

/// y[i * rows + j] = x_i · w_j for x [m, padded_row(k)] in f32 and weights [rows, k]; m from 1 to kFewRows.
struct RowProducts {
  void (*f32)(const float* x, int64_t m, int64_t k, const float* w, int64_t rows, float* y);
  void (*bf16)(const float* x, int64_t m, int64_t k, const uint16_t* w, int64_t rows, float* y);
  void (*f16)(const float* x, int64_t m, int64_t k, const uint16_t* w, int64_t rows, float* y);
};

/// For the instruction set of vector_kernels().
const RowProducts& row_products();

extern const RowProducts kBaselineRowProducts, kAvx2RowProducts, kAvx512RowProducts;

}  // namespace fettle::cpu
