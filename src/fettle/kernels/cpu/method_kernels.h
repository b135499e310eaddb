// Kernels that parameter-efficient methods need beside products: scaled columns, block rotations,
// activations.
#pragma once
#include <span>

#include "fettle/kernels/backend.h"

namespace fettle::cpu {

void scale_columns(const Tensor& x, const Tensor& scale, const Tensor& bias, Tensor& out);
void transpose_last(const Tensor& x, Tensor& out);
void rotate_blocks(const Tensor& x, const Tensor& blocks, bool transpose, std::span<const int32_t> order,
                   Tensor& out);
void add_block_products(const Tensor& x, const Tensor& dy, std::span<const int32_t> order, Tensor& dblocks);

}  // namespace fettle::cpu
