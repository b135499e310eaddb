// Kernels that parameter-efficient methods need beside products: scaled columns and block rotations.
#pragma once
#include <span>

#include "fettle/kernels/backend.h"
#include "fettle/kernels/cpu/rows.h"

namespace fettle::cpu {

void scale_columns(const Tensor& x, const Tensor& scale, const Tensor& bias, Tensor& out);
void transpose_last(const Tensor& x, Tensor& out);
void rotate_blocks(const Tensor& x, const Tensor& blocks, bool transpose, std::span<const int32_t> order,
                   Tensor& out);
void add_block_products(const Tensor& x, const Tensor& dy, std::span<const int32_t> order, Tensor& dblocks);
/// The scratch of rotate_blocks, or of add_block_products, on x.
void rehearse_blocks(const Tensor& x, bool products, const ScratchNeed& need);

}  // namespace fettle::cpu
