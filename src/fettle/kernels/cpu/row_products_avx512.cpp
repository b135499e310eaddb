// A few rows against many for avx512.
// Undefined lanes of masked intrinsics look uninitialised to GCC 12 (its bug 105593).
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#pragma GCC diagnostic ignored "-Wuninitialized"
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

// By halves.
inline float sum_of_lanes(Vector x) {
  return _mm512_reduce_add_ps(x);
}
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
inline Vector load(const int8_t* source) {
  const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(source));
  return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(bytes));
}

using Words = __m512i;
inline Words load_words(const uint8_t* source) {
  return _mm512_loadu_si512(source);
}
inline Words next_codes(Words words) {
  return _mm512_srli_epi32(words, 4);
}

template <Rounding R>
inline Vector rounded(Vector x) {
  if constexpr (R == Rounding::kF16) return _mm512_cvtph_ps(_mm512_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT));
  if constexpr (R == Rounding::kNone) return x;
  const __m512i bits = _mm512_castps_si512(x),
                odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1)),
                sum = _mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7FFF)));
  return _mm512_castsi512_ps(_mm512_and_si512(sum, _mm512_set1_epi32(static_cast<int>(0xFFFF0000u))));
}

// What codes stand for. A register of words spans two runs, so there are two tables, and the fifth bit of an
// index says which.
template <Rounding R>
struct Values {
  __m512 first, second;
  Values(const float* code, float scale, float later_scale)
      : first(rounded<R>(_mm512_loadu_ps(code) * _mm512_set1_ps(scale))),
        second(rounded<R>(_mm512_loadu_ps(code) * _mm512_set1_ps(later_scale))) {}
  Vector of(Words words) const {
    const __m512i upper = _mm512_inserti64x4(_mm512_setzero_si512(), _mm256_set1_epi32(16), 1);
    constexpr int kAndOr = 0xEA;  // (a & b) | c
    const __m512i index = _mm512_ternarylogic_epi32(words, _mm512_set1_epi32(15), upper, kAndOr);
    return _mm512_permutex2var_ps(first, index, second);
  }
};

}  // namespace

#include "fettle/kernels/cpu/row_products.inc"

FETTLE_ROW_PRODUCTS(kAvx512RowProducts);
}  // namespace fettle::cpu
