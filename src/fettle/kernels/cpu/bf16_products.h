// Products whose operands are multiplied in bf16 and summed in f32. The right operand is packed, converted or
// dequantised panel by panel for as many rows as there are; low-rank terms join the sums before they are
// rounded.
#pragma once
#include "fettle/kernels/backend.h"
#include "fettle/kernels/cpu/bf16_tiles.h"
#include "fettle/kernels/cpu/gemm.h"
#include "fettle/kernels/cpu/rows.h"

namespace fettle::cpu {

/// matmul() in bf16, where native_bf16(); m, n, k as there. Sums run over the summed dimension in order, cut
/// by its length alone: neither the other dimensions nor the number of threads change a result.
void bf16_matmul(const MatmulArgs& args, int64_t m, int64_t n, int64_t k,
                 const Bf16Tiles& tiles = bf16_tiles());
/// What it takes of scratch_f32.
void rehearse_bf16_matmul(const MatmulArgs& args, int64_t m, int64_t n, int64_t k, const ScratchNeed& need);
/// gemm() for bf16 operands: in the calling thread.
void bf16_gemm(const Gemm& g);

}  // namespace fettle::cpu
