// Products of a few rows, which are bound by reading the weight once.
#pragma once
#include "fettle/kernels/backend.h"
#include "fettle/kernels/cpu/row_products.h"
#include "fettle/kernels/cpu/rows.h"

namespace fettle::cpu {

/// The kernel for weights of a floating type.
RowKernel row_kernel(const RowKernel* kernels, DType dtype);
/// Whether few_rows() takes a product with m rows of x.
bool takes_few_rows(const MatmulArgs& args, int64_t m);

/// out[m, n] = alpha x[m, k] Wᵀ + beta out + bias. Sums are f32, of f32 factors; their order depends on k
/// alone.
void few_rows(const MatmulArgs& args, int64_t m, int64_t n, int64_t k);

}  // namespace fettle::cpu
