#include "fettle/kernels/cpu/f32_products.h"

#include <algorithm>

#include "fettle/base/threads.h"
#include "fettle/kernels/cpu/gemm.h"
#include "fettle/kernels/cpu/rows.h"

namespace fettle::cpu {
namespace {

// Tiles are a function of the shape alone, which keeps results independent of the number of threads.
constexpr int64_t kTileRows = 512, kTileColumns = 512;
constexpr int64_t kQuantizedTileRows = 4096, kQuantizedTileColumns = 128;
// Panels of converted operands hold so much of the summed dimension: a vocabulary of 150,000 would otherwise
// make 300 MB of scratch for each thread.
constexpr int64_t kPanelDepth = 8192;
constexpr int64_t kWholeConversion = 1 << 20;  ///< operands up to this many elements are converted at once

// Lengths of sequences are arbitrary, and oneDNN compiles a kernel for each shape. A length is therefore cut
// into whole multiples of 64 and powers of two, which few kernels cover.
template <typename Body>
void for_pieces(int64_t length, Body body) {
  constexpr int64_t kWhole = 64, kLongest = 2048;
  for (int64_t begin = 0; begin < length;) {
    int64_t left = length - begin;
    int64_t piece = left >= kWhole ? std::min(left / kWhole * kWhole, kLongest)
                                   : int64_t{1} << (63 - __builtin_clzll(static_cast<uint64_t>(left)));
    body(begin, piece);
    begin += piece;
  }
}

// One tile, by pieces of its rows and, in sums over tokens (Aᵀ B), of the summed dimension.
void gemm_by_pieces(const Gemm& tile) {
  auto at = [](const void* base, int64_t elements) { return static_cast<const float*>(base) + elements; };
  for_pieces(tile.m, [&](int64_t row, int64_t rows) {
    Gemm piece = tile;
    piece.m = rows;
    piece.a = at(tile.a, tile.transpose_a ? row : row * tile.lda);
    piece.c = static_cast<float*>(tile.c) + row * tile.ldc;
    if (!tile.transpose_a) return gemm(piece);
    const void *a = piece.a, *b = piece.b;
    for_pieces(tile.k, [&](int64_t begin, int64_t count) {
      piece.k = count;
      piece.a = at(a, begin * tile.lda);
      piece.b = at(b, tile.transpose_b ? begin : begin * tile.ldb);
      gemm(piece);
      piece.beta = 1.0f;
    });
  });
}

void add_bias(const MatmulArgs& args, int64_t row0, int64_t rows, int64_t col0, int64_t columns) {
  if (!args.bias) return;
  Tensor& out = *args.out;
  const float* bias = row_f32(*args.bias, col0, columns, scratch_f32(11, columns));
  float* buffer = scratch_f32(12, columns);
  for (int64_t r = row0; r < row0 + rows; ++r) {
    int64_t element = r * out.cols() + col0;
    const float* x = row_f32(out, element, columns, buffer);
    OutRow y(out, element, columns, buffer);
    vector_kernels().add(x, bias, y.data(), columns);
    y.store();
  }
}

// An operand in f32: the tensor itself, a converted copy when it is small, or nothing (converted by tile).
Tensor whole_operand(const Tensor& x) {
  if (x.dtype() == DType::kF32) return x;
  if (x.numel() <= kWholeConversion) return x.to(DType::kF32, MemoryKind::kWorkspace);
  return {};
}

struct Panel {
  const float* data;
  int64_t ld;
};

// The sub-matrix [rows, columns] at (row0, col0) of an operand as it is stored: where it lies in `whole`,
// else converted, or dequantised and rounded to the matrix' dtype, into scratch.
Panel panel(const Tensor* x, const QuantizedMatrix* quantized, const Tensor& whole, int64_t row0,
            int64_t rows, int64_t col0, int64_t columns, int slot) {
  if (whole.defined()) return {whole.data<float>() + row0 * whole.cols() + col0, whole.cols()};
  float* scratch = scratch_f32(slot, rows * columns);
  for (int64_t r = 0; r < rows; ++r) {
    float* target = scratch + r * columns;
    if (!quantized) {
      read_f32(at(*x, (row0 + r) * x->cols() + col0), x->dtype(), target, columns);
      continue;
    }
    const bool bf16_values = quantized->dtype == DType::kBF16;
    dequantize(*quantized, (row0 + r) * quantized->cols + col0, columns, target,
               !bf16_values && quantized->dtype != DType::kF32);
    if (bf16_values) vector_kernels().round_bf16(target, columns);
  }
  return {scratch, columns};
}

struct Tiling {
  bool direct;  ///< gemm writes to the output itself
  int64_t tile_m, tile_n, tiles_m, tiles_n;
  int64_t depth;  ///< of the summed dimension at a time: all of it where no operand is converted by panel
  Tiling(const MatmulArgs& args, int64_t m, int64_t n, int64_t k) {
    auto by_panel = [&](const Tensor& x) { return x.dtype() != DType::kF32 && x.numel() > kWholeConversion; };
    depth = args.quantized_b || by_panel(*args.a) || by_panel(*args.b) ? std::min(k, kPanelDepth) : k;
    // oneDNN writes f32; anything else, and any beta besides 0 and 1, goes through an f32 tile.
    direct = args.out->dtype() == DType::kF32 && (args.beta == 0.0f || args.beta == 1.0f);
    // A quantised weight is dequantised once for every tile of rows, so those are long and its own panels
    // narrow.
    tile_m = std::min(m, args.quantized_b ? kQuantizedTileRows : kTileRows);
    tile_n = std::min(n, args.quantized_b ? kQuantizedTileColumns : kTileColumns);
    tiles_m = (m + tile_m - 1) / tile_m;
    tiles_n = (n + tile_n - 1) / tile_n;
  }
};

}  // namespace

void rehearse_f32_matmul(const MatmulArgs& args, int64_t m, int64_t n, int64_t k, const ScratchNeed& need) {
  const Tiling t(args, m, n, k);
  const Tensor a = whole_operand(*args.a), b = args.quantized_b ? Tensor() : whole_operand(*args.b);
  const int64_t threads = t.tiles_m * t.tiles_n;
  if (!a.defined()) need(13, t.tile_m * t.depth, threads);
  if (!b.defined()) need(15, t.tile_n * t.depth, threads);
  if (!t.direct) need(17, t.tile_m * t.tile_n, threads);
}

void f32_matmul(const MatmulArgs& args, int64_t m, int64_t n, int64_t k) {
  Tensor& out = *args.out;
  const Tiling t(args, m, n, k);
  const Tensor a = whole_operand(*args.a), b = args.quantized_b ? Tensor() : whole_operand(*args.b);
  // A weight whose tile must be converted or repacked is used for all row tiles of that column in a row.
  parallel_for(t.tiles_m * t.tiles_n, [&](int64_t tile) {
    const int64_t row0 = tile % t.tiles_m * t.tile_m, col0 = tile / t.tiles_m * t.tile_n;
    const int64_t rows = std::min(t.tile_m, m - row0), columns = std::min(t.tile_n, n - col0);
    float* const sums = t.direct ? nullptr : scratch_f32(17, rows * columns);
    for (int64_t k0 = 0; k0 < k; k0 += t.depth) {
      const int64_t depth = std::min(t.depth, k - k0);
      const Panel left = args.transpose_a ? panel(args.a, nullptr, a, k0, depth, row0, rows, 13)
                                          : panel(args.a, nullptr, a, row0, rows, k0, depth, 13);
      const Panel right = args.transpose_b ? panel(args.b, args.quantized_b, b, col0, columns, k0, depth, 15)
                                           : panel(args.b, args.quantized_b, b, k0, depth, col0, columns, 15);
      gemm_by_pieces({.m = rows,
                      .n = columns,
                      .k = depth,
                      .a = left.data,
                      .b = right.data,
                      .c = t.direct ? static_cast<void*>(at(out, row0 * n + col0)) : sums,
                      .lda = left.ld,
                      .ldb = right.ld,
                      .ldc = t.direct ? n : columns,
                      .transpose_a = args.transpose_a,
                      .transpose_b = args.transpose_b,
                      .alpha = args.alpha,
                      .beta = k0 > 0     ? 1.0f
                              : t.direct ? args.beta
                                         : 0.0f});
    }
    if (!t.direct) {
      float* buffer = scratch_f32(18, columns);
      for (int64_t r = 0; r < rows; ++r) {
        int64_t element = (row0 + r) * n + col0;
        if (args.beta != 0)
          vector_kernels().axpy(args.beta, row_f32(out, element, columns, buffer), sums + r * columns,
                                columns);
        write_f32(sums + r * columns, at(out, element), out.dtype(), columns);
      }
    }
    add_bias(args, row0, rows, col0, columns);
  });
}

}  // namespace fettle::cpu
