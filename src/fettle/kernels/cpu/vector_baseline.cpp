// The vector loops for baseline.
#include "fettle/kernels/cpu/vector_kernels.h"

#pragma GCC optimize("O3,fp-contract=fast,no-trapping-math,no-math-errno")

namespace fettle::cpu {
#include "fettle/kernels/cpu/vector_kernels.inc"

FETTLE_VECTOR_KERNELS(kBaselineKernels, "baseline");
}  // namespace fettle::cpu
