// A few rows against many for avx2.
// Undefined lanes of masked intrinsics look uninitialised to GCC 12 (its bug 105593).
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#pragma GCC diagnostic ignored "-Wuninitialized"
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

// By halves.
inline float sum_of_lanes(Vector x) {
  const __m128 four = _mm_add_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1)),
               two = _mm_add_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
}
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
inline Vector load(const int8_t* source) {
  const __m128i bytes = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(source));
  return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(bytes));
}

using Words = __m256i;
inline Words load_words(const uint8_t* source) {
  return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(source));
}
inline Words next_codes(Words words) {
  return _mm256_srli_epi32(words, 4);
}

template <Rounding R>
inline Vector rounded(Vector x) {
  if constexpr (R == Rounding::kF16) return _mm256_cvtph_ps(_mm256_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT));
  if constexpr (R == Rounding::kNone) return x;
  const __m256i bits = _mm256_castps_si256(x),
                odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1)),
                sum = _mm256_add_epi32(bits, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7FFF)));
  return _mm256_castsi256_ps(_mm256_and_si256(sum, _mm256_set1_epi32(static_cast<int>(0xFFFF0000u))));
}

// What codes stand for. A register of words is one run; its table is two registers, and the fourth bit of a
// code says which.
template <Rounding R>
struct Values {
  __m256 low, high;
  Values(const float* code, float scale, float)
      : low(rounded<R>(_mm256_loadu_ps(code) * _mm256_set1_ps(scale))),
        high(rounded<R>(_mm256_loadu_ps(code + 8) * _mm256_set1_ps(scale))) {}
  Vector of(Words words) const {
    const __m256 fourth = _mm256_castsi256_ps(_mm256_slli_epi32(words, 28));
    return _mm256_blendv_ps(_mm256_permutevar8x32_ps(low, words), _mm256_permutevar8x32_ps(high, words),
                            fourth);
  }
};

}  // namespace

#include "fettle/kernels/cpu/row_products.inc"

FETTLE_ROW_PRODUCTS(kAvx2RowProducts);
}  // namespace fettle::cpu
