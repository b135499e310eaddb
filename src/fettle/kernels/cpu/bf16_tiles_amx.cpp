// Tiles of bf16 products with AMX: 32 rows of 32 columns in four tile registers, two of the left operand and
// two of the panel in the others, so that four loads feed four products (Intel 64 and IA-32 Architectures
// Optimization Reference Manual, chapter on AMX). The left operand is read as it lies in memory.
#include <algorithm>
#include <cstring>

#include "fettle/kernels/cpu/bf16_tiles.h"

#pragma GCC optimize("O3")
#pragma GCC target("avx512f,avx512bw,avx512vl,avx512dq,avx512bf16,amx-tile,amx-bf16")
#include <immintrin.h>

namespace fettle::cpu {
namespace {

constexpr int64_t kStrip = 32, kUnit = 32, kLanes = 16;

#include "fettle/kernels/cpu/bf16_words.inc"

// Eight tiles of 16 rows of 64 bytes.
struct alignas(64) Configuration {
  uint8_t palette = 1, start_row = 0, reserved[14] = {};
  uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
  uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
};

// Tiles belong to a thread; nothing else in the process configures them.
void configure() {
  thread_local bool done = false;
  if (done) return;
  const Configuration configuration;
  _tile_loadconfig(&configuration);
  done = true;
}

template <bool kTwoRows, bool kTwoColumns>
void multiply_tile(const Bf16Rows& a, const uint32_t* panel, int64_t pairs, float* tile, bool add) {
  constexpr int64_t kStride =
      kPanelColumns * 4;  ///< bytes from row to row of a tile of sums and of the panel
  const int64_t left = a.row * 2;
  if (add) {
    _tile_loadd(0, tile, kStride);
    if constexpr (kTwoColumns) _tile_loadd(1, tile + kLanes, kStride);
    if constexpr (kTwoRows) _tile_loadd(2, tile + 16 * kPanelColumns, kStride);
    if constexpr (kTwoRows && kTwoColumns) _tile_loadd(3, tile + 16 * kPanelColumns + kLanes, kStride);
  } else {
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
  }
  const uint16_t *upper = a.data, *lower = a.data + 16 * a.row;
  for (int64_t p = 0; p < pairs;
       p += kUnit / 2, upper += kUnit, lower += kUnit, panel += 16 * kPanelColumns) {
    _tile_loadd(4, upper, left);
    _tile_loadd(6, panel, kStride);
    _tile_dpbf16ps(0, 4, 6);
    if constexpr (kTwoColumns) {
      _tile_loadd(7, panel + kLanes, kStride);
      _tile_dpbf16ps(1, 4, 7);
    }
    if constexpr (kTwoRows) {
      _tile_loadd(5, lower, left);
      _tile_dpbf16ps(2, 5, 6);
      if constexpr (kTwoColumns) _tile_dpbf16ps(3, 5, 7);
    }
  }
  _tile_stored(0, tile, kStride);
  if constexpr (kTwoColumns) _tile_stored(1, tile + kLanes, kStride);
  if constexpr (kTwoRows) _tile_stored(2, tile + 16 * kPanelColumns, kStride);
  if constexpr (kTwoRows && kTwoColumns) _tile_stored(3, tile + 16 * kPanelColumns + kLanes, kStride);
}

void multiply(const Bf16Rows& a, int64_t rows, const uint32_t* panel, int64_t pairs, int64_t columns,
              float* tile, bool add) {
  configure();
  const auto loop = rows > 16 ? (columns > kLanes ? multiply_tile<true, true> : multiply_tile<true, false>)
                              : (columns > kLanes ? multiply_tile<false, true> : multiply_tile<false, false>);
  loop(a, panel, pairs, tile, add);
}

// Tile registers cannot be scaled, so the term passes through memory.
void multiply_after(const Bf16Term& term, const Bf16Rows& a, int64_t rows, const uint32_t* panel,
                    int64_t pairs, int64_t columns, float* tile) {
  multiply(term.a, rows, term.panel, term.pairs, columns, tile, false);
  const __m512 scale = _mm512_set1_ps(term.scale);
  for (int64_t i = 0; i < rows * kPanelColumns; i += kLanes)
    _mm512_storeu_ps(tile + i, _mm512_mul_ps(_mm512_loadu_ps(tile + i), scale));
  multiply(a, rows, panel, pairs, columns, tile, true);
}

// Rows of the transpose, [strip][k rounded up to unit].
void pack_strip(const uint16_t* a, int64_t ld, int64_t rows, int64_t k, int64_t width, uint16_t* out) {
  for (int64_t i = 0; i < kStrip; i += kLanes) {
    const __mmask16 mask = static_cast<__mmask16>(first(std::min(kLanes, rows - i)));
    for (int64_t k0 = 0; k0 < width; k0 += kUnit) {
      __m512i words[16];
      for (int64_t p = 0; p < 16; ++p) {
        const int64_t even = k0 + 2 * p;
        auto row = [&](int64_t index) {
          return index < k ? _mm256_maskz_loadu_epi16(mask, a + index * ld + i) : _mm256_setzero_si256();
        };
        words[p] = interleaved(row(even), row(even + 1));
      }
      transpose(words);
      for (int64_t r = 0; r < 16; ++r) _mm512_storeu_si512(out + (i + r) * width + k0, words[r]);
    }
  }
}

Bf16Rows pack_transposed(const uint16_t* a, int64_t ld, int64_t rows, int64_t height, int64_t k,
                         uint16_t* out, int64_t elements) {
  const int64_t width = (k + kUnit - 1) / kUnit * kUnit;
  for (int64_t i = 0; i < rows; i += height, out += elements)
    pack_strip(a + i, ld, std::min(height, rows - i), k, width, out);
  return {out - (rows + height - 1) / height * elements, width, 2};
}

void pack_rows(const uint16_t* w, int64_t ld, int64_t columns, int64_t k, uint32_t* panel) {
  kAvx512Bf16Tiles.pack_rows(w, ld, columns, k, panel);
}
void pack_columns(const uint16_t* w, int64_t ld, int64_t columns, int64_t k, uint32_t* panel) {
  kAvx512Bf16Tiles.pack_columns(w, ld, columns, k, panel);
}
void store(const float* tile, int64_t rows, int64_t columns, const TileOutput& output) {
  kAvx512Bf16Tiles.store(tile, rows, columns, output);
}

}  // namespace

const Bf16Tiles kAmxTiles = {kStrip,    kUnit,        multiply,        multiply_after,
                             pack_rows, pack_columns, pack_transposed, store};

}  // namespace fettle::cpu
