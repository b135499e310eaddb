#include "fettle/kernels/cpu/products.h"

#include <algorithm>

#include "fettle/base/threads.h"
#include "fettle/kernels/cpu/few_rows.h"
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

// One tile, by pieces of its rows and, where the output adds up in f32, of the summed dimension.
void gemm_by_pieces(const Gemm& tile) {
  auto offset = [](const void* base, int64_t elements, DType dtype) {
    return static_cast<const std::byte*>(base) + elements * static_cast<int64_t>(dtype_size(dtype));
  };
  for_pieces(tile.m, [&](int64_t row, int64_t rows) {
    Gemm piece = tile;
    piece.m = rows;
    piece.a = offset(tile.a, tile.transpose_a ? row : row * tile.lda, tile.in);
    piece.c = const_cast<std::byte*>(offset(tile.c, row * tile.ldc, tile.out));
    // Only sums over tokens (Aᵀ B) have a length in the summed dimension.
    if (!tile.transpose_a || tile.out != DType::kF32) return gemm(piece);
    const void *a = piece.a, *b = piece.b;
    for_pieces(tile.k, [&](int64_t begin, int64_t count) {
      piece.k = count;
      piece.a = offset(a, begin * tile.lda, tile.in);
      piece.b = offset(b, tile.transpose_b ? begin : begin * tile.ldb, tile.in);
      gemm(piece);
      piece.beta = 1.0f;
    });
  });
}

struct Shape3 {
  int64_t m, n, k;
};

Shape3 shape_of(const MatmulArgs& args) {
  const Tensor& a = *args.a;
  const Shape b = args.quantized_b ? Shape{args.quantized_b->rows, args.quantized_b->cols}
                                   : Shape{args.b->rows(), args.b->cols()};
  Shape3 s{args.transpose_a ? a.cols() : a.rows(), args.transpose_b ? b[0] : b[1],
           args.transpose_a ? a.rows() : a.cols()};
  FETTLE_CHECK((args.transpose_b ? b[1] : b[0]) == s.k && args.out->rows() == s.m && args.out->cols() == s.n,
               "matmul of {}{} and {}{} into {}", shape_string(a.shape()), args.transpose_a ? "ᵀ" : "",
               shape_string(b), args.transpose_b ? "ᵀ" : "", shape_string(args.out->shape()));
  return s;
}

void finish_rows(const MatmulArgs& args, int64_t row0, int64_t rows, int64_t col0, int64_t columns) {
  if (!args.bias) return;
  const VectorKernels& v = vector_kernels();
  Tensor& out = *args.out;
  const float* bias = row_f32(*args.bias, col0, columns, scratch_f32(11, columns));
  float* buffer = scratch_f32(12, columns);
  for (int64_t r = row0; r < row0 + rows; ++r) {
    int64_t element = r * out.cols() + col0;
    const float* x = row_f32(out, element, columns, buffer);
    OutRow y(out, element, columns, buffer);
    v.add(x, bias, y.data(), columns);
    y.store();
  }
}

// Rounded to the matrix' dtype, once: a product in that dtype does it when it takes the values.
void dequantize_row(const QuantizedMatrix& x, int64_t begin, int64_t count, DType product, float* out) {
  const bool bf16_values = x.dtype == DType::kBF16;
  dequantize(x, begin, count, out, !bf16_values && x.dtype != DType::kF32);
  if (bf16_values && product != DType::kBF16) vector_kernels().round_bf16(out, count);
}

// An operand in the product's dtype: the tensor itself, a converted copy when it is small, or nothing
// (converted by tile).
Tensor whole_operand(const Tensor& x, DType product) {
  if (x.dtype() == product) return x;
  if (x.numel() <= kWholeConversion) return x.to(product, MemoryKind::kWorkspace);
  return {};
}

// Converts a sub-matrix [rows, columns] at (row0, col0) of x into contiguous scratch.
const void* converted_panel(const Tensor& x, int64_t row0, int64_t rows, int64_t col0, int64_t columns,
                            DType product, int slot) {
  float* scratch = scratch_f32(slot, rows * columns);
  if (product == DType::kF32) {
    for (int64_t r = 0; r < rows; ++r)
      read_f32(at(x, (row0 + r) * x.cols() + col0), x.dtype(), scratch + r * columns, columns);
    return scratch;
  }
  float* row = scratch_f32(slot + 1, columns);
  auto* out = reinterpret_cast<std::byte*>(scratch);
  for (int64_t r = 0; r < rows; ++r) {
    const float* values = row_f32(x, (row0 + r) * x.cols() + col0, columns, row);
    write_f32(values, out + static_cast<size_t>(r * columns) * dtype_size(product), product, columns);
  }
  return out;
}

// The same of a quantised matrix.
const void* dequantized_panel(const QuantizedMatrix& x, int64_t row0, int64_t rows, int64_t col0,
                              int64_t columns, DType product, int slot) {
  float* scratch = scratch_f32(slot, rows * columns);
  float* row = product == DType::kF32 ? nullptr : scratch_f32(slot + 1, columns);
  auto* out = reinterpret_cast<std::byte*>(scratch);
  for (int64_t r = 0; r < rows; ++r) {
    float* target = product == DType::kF32 ? scratch + r * columns : row;
    dequantize_row(x, (row0 + r) * x.cols + col0, columns, product, target);
    if (product != DType::kF32)
      write_f32(row, out + static_cast<size_t>(r * columns) * dtype_size(product), product, columns);
  }
  return out;
}

// How a product is cut, and in which types it runs.
struct Tiling {
  DType product, gemm_out;
  bool direct;  ///< gemm writes to the output itself
  int64_t tile_m, tile_n, tiles_m, tiles_n;
  int64_t depth;  ///< of the summed dimension at a time: all of it where no operand is converted by panel
  Tiling(const MatmulArgs& args, const Shape3& s)
      : product(args.compute == DType::kBF16 && native_bf16() ? DType::kBF16 : DType::kF32) {
    // oneDNN writes f32 or bf16; anything else, and any beta besides 0 and 1, goes through an f32 tile.
    const DType out = args.out->dtype();
    gemm_out = out == DType::kF32 || (out == DType::kBF16 && product == DType::kBF16) ? out : DType::kF32;
    auto by_panel = [&](const Tensor& x) { return x.dtype() != product && x.numel() > kWholeConversion; };
    depth = args.quantized_b || by_panel(*args.a) || by_panel(*args.b) ? std::min(s.k, kPanelDepth) : s.k;
    if (depth < s.k) gemm_out = DType::kF32;
    direct = gemm_out == out && (args.beta == 0.0f || args.beta == 1.0f);
    // A quantised weight is dequantised once for every tile of rows, so those are long and its own panels
    // narrow.
    tile_m = std::min(s.m, args.quantized_b ? kQuantizedTileRows : kTileRows);
    tile_n = std::min(s.n, args.quantized_b ? kQuantizedTileColumns : kTileColumns);
    tiles_m = (s.m + tile_m - 1) / tile_m;
    tiles_n = (s.n + tile_n - 1) / tile_n;
  }
};

}  // namespace

void rehearse_matmul(const MatmulArgs& args, const ScratchNeed& need) {
  const Shape3 s = shape_of(args);
  if (s.m == 0 || s.n == 0 || takes_few_rows(args, s.m)) return;
  const Tiling t(args, s);
  const Tensor a = whole_operand(*args.a, t.product),
               b = args.quantized_b ? Tensor() : whole_operand(*args.b, t.product);
  const int64_t threads = t.tiles_m * t.tiles_n, row = t.product == DType::kF32 ? 0 : 1;
  auto panel = [&](int slot, int64_t elements, int64_t columns) {
    need(slot, elements, threads);
    need(slot + 1, row * columns, threads);
  };
  if (!a.defined()) panel(13, t.tile_m * t.depth, args.transpose_a ? t.tile_m : t.depth);
  if (!b.defined()) panel(15, t.tile_n * t.depth, args.transpose_b ? t.depth : t.tile_n);
  if (!t.direct) need(17, t.tile_m * t.tile_n, threads);
}

void matmul(const MatmulArgs& args) {
  Shape3 s = shape_of(args);
  if (s.m == 0 || s.n == 0) return;
  Tensor& out = *args.out;
  if (takes_few_rows(args, s.m)) return few_rows(args, s.m, s.n, s.k);
  const QuantizedMatrix* quantized = args.quantized_b;
  const auto [product, gemm_out, direct, tile_m, tile_n, tiles_m, tiles_n, depth] = Tiling(args, s);
  Tensor a = whole_operand(*args.a, product), b = quantized ? Tensor() : whole_operand(*args.b, product);
  // A weight whose tile must be converted or repacked is used for all row tiles of that column in a row.
  parallel_for(tiles_m * tiles_n, [&](int64_t tile) {
    int64_t row0 = tile % tiles_m * tile_m, col0 = tile / tiles_m * tile_n;
    int64_t rows = std::min(tile_m, s.m - row0), columns = std::min(tile_n, s.n - col0);
    float* const sums = direct ? nullptr : scratch_f32(17, rows * columns);
    for (int64_t k0 = 0; k0 < s.k; k0 += depth) {
      const int64_t k = std::min(depth, s.k - k0);
      Gemm g{.m = rows,
             .n = columns,
             .k = k,
             .a = nullptr,
             .b = nullptr,
             .c = direct ? static_cast<void*>(at(out, row0 * s.n + col0)) : sums,
             .lda = 0,
             .ldb = 0,
             .ldc = direct ? s.n : columns,
             .transpose_a = args.transpose_a,
             .transpose_b = args.transpose_b,
             .alpha = args.alpha,
             .beta = k0 > 0   ? 1.0f
                     : direct ? args.beta
                              : 0.0f,
             .in = product,
             .out = direct ? gemm_out : DType::kF32};
      if (a.defined()) {
        g.a = at(a, args.transpose_a ? k0 * a.cols() + row0 : row0 * s.k + k0);
        g.lda = a.cols();
      } else if (args.transpose_a) {
        g.a = converted_panel(*args.a, k0, k, row0, rows, product, 13);
        g.lda = rows;
      } else {
        g.a = converted_panel(*args.a, row0, rows, k0, k, product, 13);
        g.lda = k;
      }
      if (quantized && args.transpose_b) {
        g.b = dequantized_panel(*quantized, col0, columns, k0, k, product, 15);
        g.ldb = k;
      } else if (quantized) {
        g.b = dequantized_panel(*quantized, k0, k, col0, columns, product, 15);
        g.ldb = columns;
      } else if (b.defined()) {
        g.b = at(b, args.transpose_b ? col0 * s.k + k0 : k0 * b.cols() + col0);
        g.ldb = b.cols();
      } else if (args.transpose_b) {
        g.b = converted_panel(*args.b, col0, columns, k0, k, product, 15);
        g.ldb = k;
      } else {
        g.b = converted_panel(*args.b, k0, k, col0, columns, product, 15);
        g.ldb = columns;
      }
      gemm_by_pieces(g);
    }
    if (!direct) {
      float* buffer = scratch_f32(18, columns);
      for (int64_t r = 0; r < rows; ++r) {
        int64_t element = (row0 + r) * s.n + col0;
        if (args.beta != 0)
          vector_kernels().axpy(args.beta, row_f32(out, element, columns, buffer), sums + r * columns,
                                columns);
        write_f32(sums + r * columns, at(out, element), out.dtype(), columns);
      }
    }
    finish_rows(args, row0, rows, col0, columns);
  });
}

}  // namespace fettle::cpu
