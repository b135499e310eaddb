// Matrix products of any size, cut into fixed tiles over the threads.
#pragma once
#include "fettle/kernels/backend.h"
#include "fettle/kernels/cpu/rows.h"

namespace fettle::cpu {

void matmul(const MatmulArgs& args);

/// Takes what matmul() takes besides its operands, for so long as it does, and computes nothing. `need`: a
/// thread's scratch_f32(slot, n).
void rehearse_matmul(const MatmulArgs& args, const ScratchNeed& need);

}  // namespace fettle::cpu
