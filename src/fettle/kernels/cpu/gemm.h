// Matrix products of one thread: f32 through oneDNN, with primitives kept by shape; bf16 by tiles of our own.
#pragma once
#include <cstdint>

#include "fettle/tensor/dtype.h"

namespace fettle::cpu {

/// C[m,n] = alpha * op(A) op(B) + beta * C, beta 0 or 1. Row-major with leading dimensions in elements;
/// `transpose_a` means that A is stored [k,m]. A and B share `in`: f32, or bf16 where native_bf16(); C is
/// f32, of bf16 operands also bf16; sums are f32. Runs in the calling thread, so callers cut work into fixed
/// tiles and results do not depend on the number of threads.
struct Gemm {
  int64_t m, n, k;
  const void* a;
  const void* b;
  void* c;
  int64_t lda, ldb, ldc;
  bool transpose_a = false, transpose_b = false;
  float alpha = 1.0f, beta = 0.0f;
  DType in = DType::kF32, out = DType::kF32;
};
void gemm(const Gemm& g);

}  // namespace fettle::cpu
