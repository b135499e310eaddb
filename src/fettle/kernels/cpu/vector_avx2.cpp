// The vector loops for avx2.
#include <immintrin.h>

#include <type_traits>
#include <utility>

#include "fettle/kernels/cpu/row_kernels.h"
#include "fettle/kernels/cpu/row_products.h"
#include "fettle/kernels/cpu/vector_kernels.h"

#pragma GCC optimize("O3,fp-contract=fast,no-trapping-math,no-math-errno")
#pragma GCC target("avx2,fma,f16c,bmi2")

#define FETTLE_VECTOR_BYTES 32

namespace fettle::cpu {
#include "fettle/kernels/cpu/row_kernels.inc"
#include "fettle/kernels/cpu/row_products.inc"
#include "fettle/kernels/cpu/vector_kernels.inc"

FETTLE_ROW_KERNELS(kAvx2Rows);
FETTLE_ROW_PRODUCTS(kAvx2RowProducts);
FETTLE_VECTOR_KERNELS(kAvx2Kernels, "avx2");
}  // namespace fettle::cpu
