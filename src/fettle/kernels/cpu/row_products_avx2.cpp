// A few rows against many for avx2.
// Undefined lanes of masked intrinsics look uninitialised to GCC 12 (its bug 105593).
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#include <immintrin.h>

#include "fettle/kernels/cpu/row_products.h"

#pragma GCC optimize("O3,fp-contract=fast,no-trapping-math,no-math-errno")
#pragma GCC target("avx2,fma,f16c,bmi2")

namespace fettle::cpu {
namespace {

constexpr int kWidth = 8;
using Vector = __m256;
enum class Bf16 : uint16_t {};
enum class F16 : uint16_t {};

inline __m128i halves(const void* source) {
  return _mm_loadu_si128(static_cast<const __m128i*>(source));
}
inline Vector load(const float* source) {
  return _mm256_loadu_ps(source);
}
inline Vector load(const Bf16* source) {
  return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(halves(source)), 16));
}
inline Vector load(const F16* source) {
  return _mm256_cvtph_ps(halves(source));
}

}  // namespace

#include "fettle/kernels/cpu/row_products.inc"

FETTLE_ROW_PRODUCTS(kAvx2RowProducts);
}  // namespace fettle::cpu
