// Tiles of products of bf16 operands: the innermost loops of matmul() and attention, for one instruction set.
// The right operand lies in panels: 32 columns of which two neighbours along the summed dimension share a
// 32-bit word, [pairs][32], zero where the operand ends. It is the layout of vdpbf16ps and of AMX's right
// tile.
#pragma once
#include <cstdint>

namespace fettle::cpu {

inline constexpr int64_t kPanelColumns = 32;

/// Where the rows of a left operand lie, in elements: pair p of row i at data + i * row + p * pair.
struct Bf16Rows {
  const uint16_t* data = nullptr;
  int64_t row = 0, pair = 2;
};

/// What a sum begins with: scale * a * panel.
struct Bf16Term {
  Bf16Rows a;
  const uint32_t* panel = nullptr;
  int64_t pairs = 0;
  float scale = 1.0f;
};

/// What becomes of a finished tile: out = alpha * tile + beta * out + bias.
struct TileOutput {
  void* out;   ///< bf16 or f32
  int64_t ld;  ///< elements from row to row of it
  bool bf16;
  float alpha = 1.0f, beta = 0.0f;
  const float* bias = nullptr;
};

struct Bf16Tiles {
  /// A tile has up to `strip` rows. Sums run over whole multiples of `unit` elements: operands that end
  /// before are followed by zeros. Where unit is more than 2, `strip` rows of the left operand are read
  /// whatever `rows` says.
  int64_t strip, unit;
  /// tile[rows][32] = (add ? tile : 0) + a * panel, f32, for the first `columns` (rounded up to 16). Every
  /// sum runs over k in order, so it does not depend on rows or columns.
  void (*multiply)(const Bf16Rows& a, int64_t rows, const uint32_t* panel, int64_t pairs, int64_t columns,
                   float* tile, bool add);
  /// tile = the term + a * panel.
  void (*multiply_after)(const Bf16Term& term, const Bf16Rows& a, int64_t rows, const uint32_t* panel,
                         int64_t pairs, int64_t columns, float* tile);
  /// The panel of w[columns][k], rows at `ld` elements.
  void (*pack_rows)(const uint16_t* w, int64_t ld, int64_t columns, int64_t k, uint32_t* panel);
  /// The panel of w[k][columns].
  void (*pack_columns)(const uint16_t* w, int64_t ld, int64_t columns, int64_t k, uint32_t* panel);
  /// The left operand of which a[k][rows] is the transpose, in strips of `height` rows: the i-th at
  /// out + i * elements, at least max(strip, 16) * (k rounded up to unit). Returns the first.
  Bf16Rows (*pack_transposed)(const uint16_t* a, int64_t ld, int64_t rows, int64_t height, int64_t k,
                              uint16_t* out, int64_t elements);
  void (*store)(const float* tile, int64_t rows, int64_t columns, const TileOutput& output);
};

/// For the instruction set in use; only where native_bf16().
const Bf16Tiles& bf16_tiles();

extern const Bf16Tiles kAvx512Bf16Tiles, kAmxTiles;

}  // namespace fettle::cpu
