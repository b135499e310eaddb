// Matrix products of any size, cut into fixed tiles over the threads.
#pragma once
#include "fettle/kernels/backend.h"

namespace fettle::cpu {

void matmul(const MatmulArgs& args);

}  // namespace fettle::cpu
