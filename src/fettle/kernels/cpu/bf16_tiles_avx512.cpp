// Tiles of bf16 products with AVX512-BF16: 12 rows of 32 columns in 24 registers, two words of the panel and
// one pair of the row in others (the scheme of Goto & van de Geijn, ACM TOMS 34(3), 2008).
#include <algorithm>
#include <array>
#include <cstring>
#include <utility>

#include "fettle/kernels/cpu/bf16_tiles.h"

#pragma GCC optimize("O3")
#pragma GCC target("avx512f,avx512bw,avx512vl,avx512dq,avx512bf16")
#include <immintrin.h>

namespace fettle::cpu {
namespace {

constexpr int64_t kStrip = 12, kLanes = 16;
constexpr int64_t kPackedPair = 2 * kLanes;  ///< elements from pair to pair of a packed left operand

template <int kRows, int kVectors>
using Sums = __m512[kRows][kVectors];

// sums += a * panel
template <int kRows, int kVectors, bool kPacked>
inline __attribute__((always_inline)) void add_products(const Bf16Rows& a, const uint32_t* panel,
                                                        int64_t pairs, Sums<kRows, kVectors>& sums) {
  const uint16_t* left = a.data;
  const int64_t row = kPacked ? 2 : a.row, step = kPacked ? kPackedPair : 2;
  for (int64_t p = 0; p < pairs; ++p, left += step, panel += kPanelColumns) {
    __m512bh right[kVectors];
#pragma GCC unroll 2
    for (int j = 0; j < kVectors; ++j)
      right[j] = reinterpret_cast<__m512bh>(_mm512_loadu_si512(panel + j * kLanes));
#pragma GCC unroll 16
    for (int i = 0; i < kRows; ++i) {
      int32_t pair;
      std::memcpy(&pair, left + i * row, sizeof pair);
      const __m512bh both = reinterpret_cast<__m512bh>(_mm512_set1_epi32(pair));
#pragma GCC unroll 2
      for (int j = 0; j < kVectors; ++j) sums[i][j] = _mm512_dpbf16_ps(sums[i][j], both, right[j]);
    }
  }
}

// term: null, or what the sums begin with; its left operand lies in rows.
template <int kRows, int kVectors, bool kPacked>
void multiply_tile(const Bf16Term* term, const Bf16Rows& a, const uint32_t* panel, int64_t pairs, float* tile,
                   bool add) {
  Sums<kRows, kVectors> sums;
#pragma GCC unroll 16
  for (int i = 0; i < kRows; ++i)
#pragma GCC unroll 2
    for (int j = 0; j < kVectors; ++j)
      sums[i][j] = add ? _mm512_loadu_ps(tile + i * kPanelColumns + j * kLanes) : _mm512_setzero_ps();
  if (term) {
    add_products<kRows, kVectors, false>(term->a, term->panel, term->pairs, sums);
    const __m512 scale = _mm512_set1_ps(term->scale);
#pragma GCC unroll 16
    for (int i = 0; i < kRows; ++i)
#pragma GCC unroll 2
      for (int j = 0; j < kVectors; ++j) sums[i][j] = _mm512_mul_ps(sums[i][j], scale);
  }
  add_products<kRows, kVectors, kPacked>(a, panel, pairs, sums);
#pragma GCC unroll 16
  for (int i = 0; i < kRows; ++i)
#pragma GCC unroll 2
    for (int j = 0; j < kVectors; ++j) _mm512_storeu_ps(tile + i * kPanelColumns + j * kLanes, sums[i][j]);
}

using TileLoop = void (*)(const Bf16Term*, const Bf16Rows&, const uint32_t*, int64_t, float*, bool);

template <int kVectors, bool kPacked, size_t... kRows>
constexpr std::array<TileLoop, kStrip> loops_of(std::index_sequence<kRows...>) {
  return {multiply_tile<static_cast<int>(kRows) + 1, kVectors, kPacked>...};
}
template <int kVectors, bool kPacked>
constexpr std::array<TileLoop, kStrip> kLoops =
    loops_of<kVectors, kPacked>(std::make_index_sequence<kStrip>());

TileLoop loop_of(const Bf16Rows& a, int64_t rows, int64_t columns) {
  const auto& loops = a.pair == kPackedPair ? (columns > kLanes ? kLoops<2, true> : kLoops<1, true>)
                                            : (columns > kLanes ? kLoops<2, false> : kLoops<1, false>);
  return loops[static_cast<size_t>(rows - 1)];
}

void multiply(const Bf16Rows& a, int64_t rows, const uint32_t* panel, int64_t pairs, int64_t columns,
              float* tile, bool add) {
  loop_of(a, rows, columns)(nullptr, a, panel, pairs, tile, add);
}

void multiply_after(const Bf16Term& term, const Bf16Rows& a, int64_t rows, const uint32_t* panel,
                    int64_t pairs, int64_t columns, float* tile) {
  loop_of(a, rows, columns)(&term, a, panel, pairs, tile, false);
}

#include "fettle/kernels/cpu/bf16_words.inc"

// Two rows that will be packed soon. They lie far apart: no prefetcher of the hardware finds them.
inline void prefetch_rows(const uint16_t* row, int64_t ld, int64_t columns) {
  constexpr int64_t kAhead = 48, kLine = 32;
  for (int64_t i = 0; i < columns + kLine - 1; i += kLine)
    for (int64_t next : {kAhead, kAhead + 1})
      _mm_prefetch(reinterpret_cast<const char*>(row + next * ld + i), _MM_HINT_T0);
}

void pack_rows(const uint16_t* w, int64_t ld, int64_t columns, int64_t k, uint32_t* panel) {
  const int64_t pairs = (k + 1) / 2;
  for (int64_t j = 0; j < columns; j += kLanes) {
    const int64_t present = std::clamp<int64_t>(columns - j, 0, kLanes);
    for (int64_t p = 0; p < pairs; p += kLanes) {
      const __mmask32 mask = first(k - 2 * p);
      __m512i words[16];
      if (present == kLanes && mask == 0xFFFFFFFFu) {
#pragma GCC unroll 16
        for (int i = 0; i < 16; ++i) words[i] = _mm512_loadu_si512(w + (j + i) * ld + 2 * p);
      } else {
        for (int i = 0; i < 16; ++i)
          words[i] =
              i < present ? _mm512_maskz_loadu_epi16(mask, w + (j + i) * ld + 2 * p) : _mm512_setzero_si512();
      }
      transpose(words);
      const int64_t count = std::min(kLanes, pairs - p);
      for (int64_t i = 0; i < count; ++i) _mm512_storeu_si512(panel + (p + i) * kPanelColumns + j, words[i]);
    }
  }
}

void pack_columns(const uint16_t* w, int64_t ld, int64_t columns, int64_t k, uint32_t* panel) {
  const __mmask16 low = static_cast<__mmask16>(first(columns)),
                  high = static_cast<__mmask16>(first(columns - kLanes));
  const __m256i zero = _mm256_setzero_si256();
  for (int64_t p = 0; 2 * p < k; ++p) {
    const uint16_t *even = w + 2 * p * ld, *odd = even + ld;
    const bool pair = 2 * p + 1 < k;
    uint32_t* out = panel + p * kPanelColumns;
    prefetch_rows(even, ld, columns);
    _mm512_storeu_si512(out, interleaved(_mm256_maskz_loadu_epi16(low, even),
                                         pair ? _mm256_maskz_loadu_epi16(low, odd) : zero));
    if (columns > kLanes)
      _mm512_storeu_si512(out + kLanes,
                          interleaved(_mm256_maskz_loadu_epi16(high, even + kLanes),
                                      pair ? _mm256_maskz_loadu_epi16(high, odd + kLanes) : zero));
  }
}

// Pairs of 16 rows side by side, of which the first are used.
Bf16Rows pack_transposed(const uint16_t* a, int64_t ld, int64_t rows, int64_t height, int64_t k,
                         uint16_t* out, int64_t elements) {
  for (int64_t p = 0; 2 * p < k; ++p) {
    const uint16_t *even = a + 2 * p * ld, *odd = even + ld;
    uint16_t* strip = out + p * kPackedPair;
    prefetch_rows(even, ld, rows);
    for (int64_t i = 0; i < rows; i += height, strip += elements) {
      const __mmask16 mask = static_cast<__mmask16>(first(std::min(height, rows - i)));
      _mm512_storeu_si512(strip, interleaved(_mm256_maskz_loadu_epi16(mask, even + i),
                                             2 * p + 1 < k ? _mm256_maskz_loadu_epi16(mask, odd + i)
                                                           : _mm256_setzero_si256()));
    }
  }
  return {out, 2, kPackedPair};
}

template <bool kBf16, bool kAddOld>
void store_rows(const float* tile, int64_t rows, int64_t columns, const TileOutput& o) {
  const __m512 alpha = _mm512_set1_ps(o.alpha), beta = _mm512_set1_ps(o.beta);
  for (int64_t j = 0; j < columns; j += kLanes) {
    const __mmask16 mask = static_cast<__mmask16>(first(columns - j));
    const __m512 bias = o.bias ? _mm512_maskz_loadu_ps(mask, o.bias + j) : _mm512_setzero_ps();
    for (int64_t i = 0; i < rows; ++i) {
      __m512 value = _mm512_fmadd_ps(alpha, _mm512_loadu_ps(tile + i * kPanelColumns + j), bias);
      if constexpr (kBf16) {
        auto* out = static_cast<uint16_t*>(o.out) + i * o.ld + j;
        if (kAddOld) {
          const __m512i old =
              _mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(mask, out)), 16);
          value = _mm512_fmadd_ps(beta, _mm512_castsi512_ps(old), value);
        }
        _mm256_mask_storeu_epi16(out, mask, reinterpret_cast<__m256i>(_mm512_cvtneps_pbh(value)));
      } else {
        float* out = static_cast<float*>(o.out) + i * o.ld + j;
        if (kAddOld) value = _mm512_fmadd_ps(beta, _mm512_maskz_loadu_ps(mask, out), value);
        _mm512_mask_storeu_ps(out, mask, value);
      }
    }
  }
}

void store(const float* tile, int64_t rows, int64_t columns, const TileOutput& output) {
  const auto rows_into = output.bf16
                             ? (output.beta != 0 ? store_rows<true, true> : store_rows<true, false>)
                             : (output.beta != 0 ? store_rows<false, true> : store_rows<false, false>);
  rows_into(tile, rows, columns, output);
}

}  // namespace

const Bf16Tiles kAvx512Bf16Tiles = {kStrip,          2,    multiply, multiply_after, pack_rows, pack_columns,
                                    pack_transposed, store};

}  // namespace fettle::cpu
