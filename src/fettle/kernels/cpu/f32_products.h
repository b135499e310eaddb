// Products in f32, tile by tile through oneDNN.
#pragma once
#include "fettle/kernels/backend.h"
#include "fettle/kernels/cpu/rows.h"

namespace fettle::cpu {

/// matmul() in f32 without its terms; m, n, k as there.
void f32_matmul(const MatmulArgs& args, int64_t m, int64_t n, int64_t k);
/// What it takes besides its operands, for so long as it does.
void rehearse_f32_matmul(const MatmulArgs& args, int64_t m, int64_t n, int64_t k, const ScratchNeed& need);

}  // namespace fettle::cpu
