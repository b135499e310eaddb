// The vector loops for avx512.
#include <immintrin.h>

#include <type_traits>
#include <utility>

#include "fettle/kernels/cpu/row_kernels.h"
#include "fettle/kernels/cpu/row_products.h"
#include "fettle/kernels/cpu/vector_kernels.h"

#pragma GCC optimize("O3,fp-contract=fast,no-trapping-math,no-math-errno")
#pragma GCC target("avx512f,avx512bw,avx512vl,avx512dq,avx512cd,fma,f16c,bmi2,prefer-vector-width=512")

#define FETTLE_VECTOR_BYTES 64

namespace fettle::cpu {
#include "fettle/kernels/cpu/row_kernels.inc"
#include "fettle/kernels/cpu/row_products.inc"
#include "fettle/kernels/cpu/vector_kernels.inc"

FETTLE_ROW_KERNELS(kAvx512Rows);
FETTLE_ROW_PRODUCTS(kAvx512RowProducts);
FETTLE_VECTOR_KERNELS(kAvx512Kernels, "avx512");
}  // namespace fettle::cpu
