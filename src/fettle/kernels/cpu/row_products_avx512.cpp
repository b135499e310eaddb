// A few rows against many for avx512.
// Undefined lanes of masked intrinsics look uninitialised to GCC 12 (its bug 105593).
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#include <immintrin.h>

#include "fettle/kernels/cpu/row_products.h"

#pragma GCC optimize("O3,fp-contract=fast,no-trapping-math,no-math-errno")
#pragma GCC target("avx512f,avx512bw,avx512vl,avx512dq,avx512cd,fma,f16c,bmi2,prefer-vector-width=512")

namespace fettle::cpu {
namespace {

constexpr int kWidth = 16;
using Vector = __m512;
enum class Bf16 : uint16_t {};
enum class F16 : uint16_t {};

inline __m256i halves(const void* source) {
  return _mm256_loadu_si256(static_cast<const __m256i*>(source));
}
inline Vector load(const float* source) {
  return _mm512_loadu_ps(source);
}
inline Vector load(const Bf16* source) {
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(halves(source)), 16));
}
inline Vector load(const F16* source) {
  return _mm512_cvtph_ps(halves(source));
}

}  // namespace

#include "fettle/kernels/cpu/row_products.inc"

FETTLE_ROW_PRODUCTS(kAvx512RowProducts);
}  // namespace fettle::cpu
