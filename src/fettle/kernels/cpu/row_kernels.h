// Vector loops that read and write rows in the type they are stored in: one table for each of f32, bf16 and
// f16. Arithmetic is f32, every stored value rounded once. x, y, z: rows of the table's type, the results
// last; a result may be the same row as an operand. One source (row_kernels.inc) for several instruction
// sets.
#pragma once
#include <cstdint>

#include "fettle/kernels/backend.h"

namespace fettle::cpu {

inline constexpr int kActivations = 6;

struct RowKernels {
  // --- element-wise ---
  void (*add)(const void* x, const void* y, void* z, int64_t n);
  void (*multiply)(const void* x, const void* y, void* z, int64_t n);
  void (*scale)(float a, const void* x, void* y, int64_t n);
  void (*axpy)(float a, const void* x, void* y, int64_t n);  ///< y += a x
  void (*swiglu)(const void* gate, const void* up, void* y, int64_t n);
  void (*swiglu_backward)(const void* dy, const void* gate, const void* up, void* dgate, void* dup,
                          int64_t n);
  void (*activate[kActivations])(const void* x, void* y, int64_t n);  ///< by Activation
  /// dx = dy * activation'(x)
  void (*activate_backward[kActivations])(const void* dy, const void* x, void* dx, int64_t n);
  /// y = x / (1-p) where word i of the Philox blocks from `first_block` is at least p as a uniform, else 0;
  /// `key` and the upper three words of `counter` as RandomKey::block has them.
  void (*dropout)(const void* x, float p, const uint32_t key[2], const uint32_t counter[3],
                  uint64_t first_block, void* y, int64_t n);
  // --- reductions: f32 lanes, or f64 where they are squares; a fixed order ---
  float (*max)(const void* x, int64_t n);
  float (*sum)(const void* x, int64_t n);
  double (*sum_squares)(const void* x, float centre, int64_t n);  ///< of x - centre
  bool (*finite)(const void* x, int64_t n);                       ///< no NaN, no infinity
  /// Of e = exp(x - shift), which is kept unless null.
  float (*exp_sum)(const void* x, float shift, float* e, int64_t n);
  // --- with f32 columns w ---
  /// y = w * (r x rounded to the type), as LlamaRMSNorm.
  void (*rms_norm)(const void* x, const float* w, float r, void* y, int64_t n);
  /// Sum of x w.
  float (*dot_columns)(const void* x, const float* w, int64_t n);
  /// Sum of dy w (x - centre).
  float (*dot_weighted)(const void* dy, const float* w, const void* x, float centre, int64_t n);
  /// dx = r (dy w) - c x (+ residual, which may be null)
  void (*rms_norm_backward)(const void* dy, const float* w, const void* x, float r, float c,
                            const void* residual, void* dx, int64_t n);
  /// y = w r (x - mean) + bias
  void (*layer_norm)(const void* x, const float* w, const float* bias, float mean, float r, void* y,
                     int64_t n);
  /// dx = r (dy w - less - c (x - mean))
  void (*layer_norm_backward)(const void* dy, const float* w, const void* x, float mean, float r, float less,
                              float c, void* dx, int64_t n);
  /// y = x w (+ bias, which may be null)
  void (*scale_columns)(const void* x, const float* w, const float* bias, void* y, int64_t n);
  /// y = a e - less
  void (*scale_shift)(float a, const float* e, float less, void* y, int64_t n);
  // --- attention: f32 scores become rows of the type ---
  /// p = exp(a x - shift); returns the sum of p before it is rounded.
  float (*exp_scores)(const float* x, float a, float shift, void* p, int64_t n);
  /// p = exp(a x - shift), ds = p (dp - delta) a
  void (*score_gradients)(const float* x, const float* dp, float a, float shift, float delta, void* p,
                          void* ds, int64_t n);
  /// Each of `heads` heads of `dim`: halves [0, half) and [half, 2 half) turned, what is beyond copied.
  void (*rotary)(const void* x, const float* cos, const float* sin, bool inverse, void* y, int64_t heads,
                 int64_t dim, int64_t half);
  // --- onto f32 columns ---
  void (*add_columns)(const void* x, float* sum, int64_t n);  ///< sum += x
  /// sum += a x (y - centre)
  void (*add_column_products)(float a, const void* x, const void* y, float centre, float* sum, int64_t n);
};

/// For the best instruction set that the CPU and $FETTLE_CPU allow; `dtype` is kF32, kBF16 or kF16.
const RowKernels& row_kernels(DType dtype);

/// f32, bf16, f16.
extern const RowKernels kBaselineRows[3], kAvx2Rows[3], kAvx512Rows[3];

}  // namespace fettle::cpu
