// The vector loops of the CPU backend: one source (vector_kernels.inc), compiled for several instruction
// sets; the table for this machine is chosen at run time. All functions work on contiguous f32 runs of one
// thread; conversions and threading are the callers' matter.
#pragma once
#include <cstdint>

namespace fettle::cpu {

struct VectorKernels {
  const char* name;
  // --- conversions (bf16 and f16 as their bits) ---
  void (*bf16_to_f32)(const uint16_t* x, float* y, int64_t n);
  void (*f32_to_bf16)(const float* x, uint16_t* y, int64_t n);
  void (*f16_to_f32)(const uint16_t* x, float* y, int64_t n);
  void (*f32_to_f16)(const float* x, uint16_t* y, int64_t n);
  /// x rounded to the 16-bit type in place.
  void (*round_bf16)(float* x, int64_t n);
  void (*round_f16)(float* x, int64_t n);
  // --- reductions, f32 in 16 lanes, lanes summed in order ---
  float (*dot)(const float* x, const float* y, int64_t n);
  float (*max)(const float* x, int64_t n);
  // --- element-wise ---
  void (*add)(const float* x, const float* y, float* z, int64_t n);
  void (*axpy)(float a, const float* x, float* y, int64_t n);
  void (*scale)(float a, const float* x, float* y, int64_t n);
  // --- optimizer ---
  void (*adamw)(float* p, const float* g, float* m, float* v, int64_t n, float grad_scale, float beta1,
                float beta2, float decay, float step_size, float inverse_root_correction, float epsilon);
  // --- block rotations: blocks of `size` columns in rows `stride` apart, matrices [size, columns] with
  // `columns` a multiple of 16; lanes past a block's end are read and written ---
  /// y = x R for `rows` rows.
  void (*rotate_block)(const float* x, int64_t stride, int64_t rows, const float* matrix, int64_t size,
                       int64_t columns, float* y);
  /// sum += xᵀ y over `rows` rows.
  void (*add_block_product)(const float* x, const float* y, int64_t stride, int64_t rows, int64_t size,
                            int64_t columns, float* sum);
};

/// For the best instruction set that the CPU and $FETTLE_CPU allow.
const VectorKernels& vector_kernels();
/// Whether products of bf16 operands run natively (AVX512-BF16 or AMX).
bool native_bf16();
/// "amx", "avx512_bf16", "avx512", "avx2", "baseline".
const char* instruction_set();

extern const VectorKernels kBaselineKernels, kAvx2Kernels, kAvx512Kernels;

}  // namespace fettle::cpu
