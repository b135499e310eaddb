// The vector loops for avx2.
#include "fettle/kernels/cpu/vector_kernels.h"

#pragma GCC optimize("O3,fp-contract=fast,no-trapping-math,no-math-errno")
#pragma GCC target("avx2,fma,f16c,bmi2")

namespace fettle::cpu {
#include "fettle/kernels/cpu/vector_kernels.inc"

FETTLE_VECTOR_KERNELS(kAvx2Kernels, "avx2");
}  // namespace fettle::cpu
