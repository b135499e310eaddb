// A few rows against many rows of weights: what decoding is made of. One source (row_products.inc), compiled
// for several instruction sets as vector_kernels.h says. A weight is read once, converted in registers, and
// meets every x.
#pragma once
#include <cstdint>

namespace fettle::cpu {

/// Up to here a product is bound by reading the weights once.
inline constexpr int64_t kFewRows = 4;
/// Rows of x are padded with zeros to a multiple of this. A sum runs in so many lanes, which are then added
/// by halves, whatever the instruction set.
inline constexpr int64_t kRowLanes = 64;
inline int64_t padded_row(int64_t k) {
  return (k + kRowLanes - 1) / kRowLanes * kRowLanes;
}

/// Rows of 4-bit codes, side by side (kernels/quantized.h). A row's length and a block are multiples of
/// kCodeRun, so no run of so many codes has two scales.
inline constexpr int64_t kCodeRun = 64;
enum class Rounding { kNone, kBf16, kF16 };
struct CodeRows {
  const uint8_t* packed;
  const float* code;    ///< 16 values
  const float* scales;  ///< of the blocks, from the one that holds the first code on
  int64_t begin;        ///< place of the first code in its block
  int64_t blocksize;
  Rounding rounding;  ///< of code times scale
};
/// Floats of a row of x in the order of codes.
inline int64_t padded_code_row(int64_t k) {
  return (k + 127) / 128 * 128;
}

/// w: rows of k weights whose starts are `stride` weights apart.
using RowKernel = void (*)(const float* x, int64_t m, int64_t k, const void* w, int64_t stride, int64_t rows,
                           float* y);

/// Kernels in the order of f32, bf16, f16 and, for products, int8.
struct RowProducts {
  /// y[i * rows + j] = x_i · w_j for x [m, padded_row(k)].
  RowKernel products[4];
  /// y_i += Σ_j x[i * rows + j] w_j for y [m, k], j in order.
  RowKernel combinations[3];
  /// As products, for x [m, padded_code_row(k)] with rows in the order of in_code_order(), m up to kFewRows.
  void (*codes)(const float* x, int64_t m, int64_t k, const CodeRows& w, int64_t rows, float* y);
  void (*in_code_order)(const float* x, int64_t k, float* ordered);
};

/// For the instruction set of vector_kernels().
const RowProducts& row_products();

extern const RowProducts kBaselineRowProducts, kAvx2RowProducts, kAvx512RowProducts;

}  // namespace fettle::cpu
