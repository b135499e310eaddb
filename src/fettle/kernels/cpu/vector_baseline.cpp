// The vector loops for baseline.
#include <immintrin.h>

#include <type_traits>
#include <utility>

#include "fettle/kernels/cpu/row_kernels.h"
#include "fettle/kernels/cpu/row_products.h"
#include "fettle/kernels/cpu/vector_kernels.h"

#pragma GCC optimize("O3,fp-contract=fast,no-trapping-math,no-math-errno")

#define FETTLE_VECTOR_BYTES 16

namespace fettle::cpu {
#include "fettle/kernels/cpu/row_kernels.inc"
#include "fettle/kernels/cpu/row_products.inc"
#include "fettle/kernels/cpu/vector_kernels.inc"

FETTLE_ROW_KERNELS(kBaselineRows);
FETTLE_ROW_PRODUCTS(kBaselineRowProducts);
FETTLE_VECTOR_KERNELS(kBaselineKernels, "baseline");
}  // namespace fettle::cpu
