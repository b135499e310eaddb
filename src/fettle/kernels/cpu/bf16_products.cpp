#include "fettle/kernels/cpu/bf16_products.h"

#include <algorithm>
#include <limits>
#include <vector>

#include "fettle/base/threads.h"

namespace fettle::cpu {
namespace {

constexpr int64_t kPanelElements = 320 << 10;  ///< of a thread's panels: 640 KiB, two thirds of a core's L2
// Of the summed dimension at a time, and how much of it may stay whole. A left operand that is packed is
// packed for every tile of columns: less depth, wider tiles.
constexpr int64_t kDepth = 3072, kWhole = 6144, kPackedDepth = 640, kPackedWhole = 960;
constexpr int64_t kMostColumns = 512, kLeastColumns = 64;
constexpr int64_t kMostRows = 2048;  ///< bounds the sums of a block whose depth is cut
constexpr int64_t kRowsChunk = 64,
                  kDepthChunk = 512;  ///< of an operand that is converted before it is packed
constexpr int64_t kMostStrip = 32, kMostStrips = 8;
constexpr int64_t kPackedWidth = 16;  ///< rows side by side in a packed left operand, at least
enum Slot { kLeft = 11, kLeftRow, kLeftBlock, kTermLeft, kPanels, kConverted, kSums, kRow };

int64_t rounded_up(int64_t n, int64_t unit) {
  return (n + unit - 1) / unit * unit;
}
uint16_t* scratch_bf16(int slot, int64_t n) {
  return reinterpret_cast<uint16_t*>(scratch_f32(slot, (n + 1) / 2));
}

// A run of an operand as bf16.
void convert_run(const std::byte* source, DType dtype, int64_t n, int row_slot, uint16_t* out) {
  if (dtype == DType::kBF16) {
    std::memcpy(out, source, static_cast<size_t>(n) * 2);
    return;
  }
  const float* values = reinterpret_cast<const float*>(source);
  if (dtype != DType::kF32) {
    float* row = scratch_f32(row_slot, n);
    read_f32(source, dtype, row, n);
    values = row;
  }
  vector_kernels().f32_to_bf16(values, out, n);
}

// op(a): [m, k], stored [m, k] or, transposed, [k, m].
struct LeftOperand {
  const void* data;
  DType dtype;
  int64_t ld;
  bool transposed;

  const std::byte* at(int64_t row, int64_t column) const {
    return static_cast<const std::byte*>(data) +
           (row * ld + column) * static_cast<int64_t>(dtype_size(dtype));
  }
  // Whether strips of so many rows are read where they lie.
  bool in_place(const Bf16Tiles& tiles, int64_t rows, int64_t k) const {
    const bool whole = k % tiles.unit == 0 && (tiles.unit == 2 || rows == tiles.strip);
    return dtype == DType::kBF16 && !transposed && whole;
  }
  // Strips that are taken at a time. The rows of a transposed operand are columns in memory: together they
  // use up the cache lines they lie in.
  int64_t group() const { return transposed ? kMostStrips : 1; }
  // Elements of what take() copies at a time of `rows` rows whose k is taken `depth` at a time; 0 where it
  // copies nothing.
  int64_t copied_elements(const Bf16Tiles& tiles, int64_t rows, int64_t k, int64_t depth) const {
    const bool never = in_place(tiles, tiles.strip, depth) &&
                       in_place(tiles, tiles.strip, k % std::max<int64_t>(depth, 1)) &&
                       (tiles.unit == 2 || rows % tiles.strip == 0);
    return never ? 0 : group() * strip_elements(tiles, depth);
  }
  // Rows [row0, row0 + rows) in strips of `height`, at most group() of them, and k of the summed dimension
  // from k0 on.
  void take(const Bf16Tiles& tiles, int64_t row0, int64_t rows, int64_t height, int64_t k0, int64_t k,
            uint16_t* copies, Bf16Rows* strips) const {
    if (in_place(tiles, rows, k)) {
      *strips = {reinterpret_cast<const uint16_t*>(at(row0, k0)), ld, 2};
      return;
    }
    const int64_t elements = strip_elements(tiles, k), width = rounded_up(k, tiles.unit);
    if (!transposed) {
      for (int64_t i = 0; i < rows; ++i) {
        convert_run(at(row0 + i, k0), dtype, k, kLeftRow, copies + i * width);
        std::fill(copies + i * width + k, copies + (i + 1) * width, uint16_t{0});
      }
      std::fill(copies + rows * width, copies + tiles.strip * width, uint16_t{0});
      *strips = {copies, width, 2};
      return;
    }
    const uint16_t* source = reinterpret_cast<const uint16_t*>(at(k0, row0));
    int64_t stride = ld;
    if (dtype != DType::kBF16) {
      uint16_t* block = scratch_bf16(kLeftBlock, rows * k);
      for (int64_t i = 0; i < k; ++i) convert_run(at(k0 + i, row0), dtype, rows, kLeftRow, block + i * rows);
      source = block;
      stride = rows;
    }
    const Bf16Rows first = tiles.pack_transposed(source, stride, rows, height, k, copies, elements);
    for (int64_t i = 0; i * height < rows; ++i)
      strips[i] = {first.data + i * elements, first.row, first.pair};
  }
  // Of a strip; one cache line more than it needs, so that strips do not share the sets of a cache.
  static int64_t strip_elements(const Bf16Tiles& tiles, int64_t k) {
    return std::max(tiles.strip, kPackedWidth) * rounded_up(k, tiles.unit) + 32;
  }
};

// op(b): [k, n], stored [k, n] or, transposed, [n, k].
struct RightOperand {
  const void* data;
  DType dtype;
  int64_t ld;
  bool transposed;
  const QuantizedMatrix* quantized = nullptr;

  const uint16_t* bf16_at(int64_t row, int64_t column) const {
    return static_cast<const uint16_t*>(data) + row * ld + column;
  }
  // Elements [column, column + n) of a row as bf16.
  void convert(int64_t row, int64_t column, int64_t n, uint16_t* out) const {
    const int64_t element = row * ld + column;
    if (quantized) return dequantize_bf16(*quantized, element, n, out);
    convert_run(static_cast<const std::byte*>(data) + element * static_cast<int64_t>(dtype_size(dtype)),
                dtype, n, kRow, out);
  }
  int64_t converted_elements(int64_t columns) const {
    if (!quantized && dtype == DType::kBF16) return 0;
    return transposed ? kPanelColumns * kDepthChunk : kRowsChunk * columns;
  }

  // Panels of columns [col0, col0 + columns), one behind the other, each rounded_up(k, unit) / 2 pairs deep.
  void pack(const Bf16Tiles& tiles, int64_t k0, int64_t k, int64_t col0, int64_t columns,
            uint32_t* panels) const {
    const int64_t pairs = rounded_up(k, tiles.unit) / 2, panel_words = pairs * kPanelColumns;
    const bool direct = !quantized && dtype == DType::kBF16;
    const int64_t step = direct ? k : transposed ? kDepthChunk : kRowsChunk;
    uint16_t* block = direct ? nullptr : scratch_bf16(kConverted, converted_elements(columns));
    for (int64_t begin = 0; begin < k; begin += step) {
      const int64_t count = std::min(step, k - begin);
      if (!direct && !transposed)
        for (int64_t i = 0; i < count; ++i) convert(k0 + begin + i, col0, columns, block + i * columns);
      for (int64_t j = 0; j < columns; j += kPanelColumns) {
        const int64_t width = std::min(kPanelColumns, columns - j);
        uint32_t* panel = panels + j / kPanelColumns * panel_words + begin / 2 * kPanelColumns;
        if (direct && transposed) {
          tiles.pack_rows(bf16_at(col0 + j, k0), ld, width, k, panel);
        } else if (direct) {
          tiles.pack_columns(bf16_at(k0, col0 + j), ld, width, k, panel);
        } else if (transposed) {
          for (int64_t i = 0; i < width; ++i)
            convert(col0 + j + i, k0 + begin, count, block + i * kDepthChunk);
          tiles.pack_rows(block, kDepthChunk, width, count, panel);
        } else {
          tiles.pack_columns(block + j, columns, width, count, panel);
        }
      }
    }
    const int64_t filled = (k + 1) / 2;
    for (int64_t j = 0; filled < pairs && j < columns; j += kPanelColumns) {
      uint32_t* panel = panels + j / kPanelColumns * panel_words;
      std::fill(panel + filled * kPanelColumns, panel + panel_words, 0u);
    }
  }
};

struct Product {
  LeftOperand a;
  RightOperand b;
  int64_t k;
  float scale;
};

// How a product is cut over the threads. Only `depth` can change a result, and it follows from k and the
// layout.
struct Tiling {
  int64_t depth, tile_m, tile_n, tiles_m, tiles_n;
  Tiling(const Bf16Tiles& tiles, int64_t m, int64_t n, int64_t k, bool packs_left, int threads) {
    const int64_t part = packs_left ? kPackedDepth : kDepth;
    const int64_t cuts = k <= (packs_left ? kPackedWhole : kWhole) ? 1 : (k + part - 1) / part;
    depth = cuts == 1 ? std::max<int64_t>(k, 1) : rounded_up((k + cuts - 1) / cuts, 64);
    // The widest tile that fits, or one down to half of it that leaves threads less idle at the end.
    const int64_t widest =
        std::clamp(kPanelElements / depth / kPanelColumns * kPanelColumns, kLeastColumns, kMostColumns);
    int64_t least = std::numeric_limits<int64_t>::max();
    for (int64_t width = widest; width >= std::max(widest / 2, kLeastColumns); width -= kPanelColumns) {
      const int64_t count = (n + width - 1) / width, time = rounded_up(count, threads) * width;
      if (time >= least) continue;
      least = time;
      tile_n = width;
      tiles_n = count;
    }
    // Each tile of rows packs the panels again, so there are only as many as keep the threads busy.
    const int64_t wanted = threads == 1 ? 1 : 4 * threads;
    tiles_m = std::max((m + kMostRows - 1) / kMostRows, (wanted + tiles_n - 1) / tiles_n);
    while (tiles_m * tiles_n % threads != 0 && tiles_m * tiles_n < 2 * wanted) ++tiles_m;
    tile_m = rounded_up((m + tiles_m - 1) / tiles_m, tiles.strip);
    tiles_m = (m + tile_m - 1) / tile_m;
  }
  int64_t sums(const Bf16Tiles& tiles, int64_t k) const {
    return depth < k ? rounded_up(tile_m, tiles.strip) * tile_n : 0;
  }
};

struct Target {
  void* data;
  DType dtype;
  int64_t ld;
  float beta;
  const float* bias;        ///< of all columns, or null
  bool transposed = false;  ///< element [i, j] goes to [j, i]; f32 without bias
};

void store(const Bf16Tiles& tiles, const float* tile, int64_t row0, int64_t rows, int64_t col0,
           int64_t columns, float alpha, const Target& target) {
  if (target.transposed) {
    float* out = static_cast<float*>(target.data) + col0 * target.ld + row0;
    for (int64_t j = 0; j < columns; ++j)
      for (int64_t i = 0; i < rows; ++i) {
        float& element = out[j * target.ld + i];
        element = alpha * tile[i * kPanelColumns + j] + (target.beta != 0 ? target.beta * element : 0.0f);
      }
    return;
  }
  const float* bias = target.bias ? target.bias + col0 : nullptr;
  std::byte* out = static_cast<std::byte*>(target.data) +
                   (row0 * target.ld + col0) * static_cast<int64_t>(dtype_size(target.dtype));
  if (target.dtype == DType::kBF16 || target.dtype == DType::kF32)
    return tiles.store(tile, rows, columns,
                       {out, target.ld, target.dtype == DType::kBF16, alpha, target.beta, bias});
  float buffer[kMostStrip * kPanelColumns];
  const int64_t stride = target.ld * static_cast<int64_t>(dtype_size(target.dtype));
  if (target.beta != 0)
    for (int64_t i = 0; i < rows; ++i)
      read_f32(out + i * stride, target.dtype, buffer + i * kPanelColumns, columns);
  tiles.store(tile, rows, columns, {buffer, kPanelColumns, false, alpha, target.beta, bias});
  for (int64_t i = 0; i < rows; ++i)
    write_f32(buffer + i * kPanelColumns, out + i * stride, target.dtype, columns);
}

// Rows [row0, row0 + rows) and columns [col0, col0 + columns) of main.scale * a b + the terms.
void multiply_block(const Bf16Tiles& tiles, const Product& main, std::span<const Product> terms,
                    const Tiling& tiling, int64_t row0, int64_t rows, int64_t col0, int64_t columns,
                    const Target& target) {
  const VectorKernels& vectors = vector_kernels();
  const int64_t count = (columns + kPanelColumns - 1) / kPanelColumns,
                tile_size = tiles.strip * kPanelColumns;
  auto pairs_of = [&](int64_t k) { return rounded_up(k, tiles.unit) / 2; };
  int64_t words = pairs_of(std::min(tiling.depth, main.k)) * count * kPanelColumns;
  int64_t term_copies = 0;
  for (const Product& term : terms) {
    words += pairs_of(term.k) * count * kPanelColumns;
    term_copies += term.a.copied_elements(tiles, rows, term.k, term.k);
  }
  auto* panels = reinterpret_cast<uint32_t*>(scratch_f32(kPanels, words));
  uint16_t* const copies = scratch_bf16(kLeft, main.a.copied_elements(tiles, rows, main.k, tiling.depth));
  uint16_t* const copies_of_terms = scratch_bf16(kTermLeft, term_copies);
  std::vector<Bf16Term> begun;  // the terms' panels, and the strip that is at work
  for (uint32_t* panel = panels + pairs_of(std::min(tiling.depth, main.k)) * count * kPanelColumns;
       const Product& term : terms) {
    term.b.pack(tiles, 0, term.k, col0, columns, panel);
    begun.push_back({{}, panel, pairs_of(term.k), term.scale / main.scale});
    panel += pairs_of(term.k) * count * kPanelColumns;
  }
  const bool cut = tiling.depth < main.k;
  float* const sums =
      cut ? scratch_f32(kSums, rounded_up(rows, tiles.strip) * count * kPanelColumns) : nullptr;
  Bf16Rows strips_of_a[kMostStrips];
  alignas(64) float whole[kMostStrip * kPanelColumns], part[kMostStrip * kPanelColumns];
  // Strips of nearly equal height: a short last one would be slow.
  const int64_t strips = (rows + tiles.strip - 1) / tiles.strip,
                height = tiles.unit == 2 ? (rows + strips - 1) / strips : tiles.strip;
  for (int64_t k0 = 0; k0 < main.k || k0 == 0; k0 += tiling.depth) {
    const int64_t k = std::min(tiling.depth, main.k - k0), pairs = pairs_of(k);
    const bool is_first = k0 == 0, is_last = k0 + k >= main.k;
    main.b.pack(tiles, k0, k, col0, columns, panels);
    for (int64_t begin = 0, strip = 0; begin < rows; begin += height, ++strip) {
      const int64_t used = std::min(height, rows - begin), row = row0 + begin;
      const int64_t place = strip % main.a.group();
      if (place == 0)
        main.a.take(tiles, row, std::min(main.a.group() * height, rows - begin), height, k0, k, copies,
                    strips_of_a);
      uint16_t* copy = copies_of_terms;
      for (size_t t = 0; is_first && t < terms.size(); ++t) {
        terms[t].a.take(tiles, row, used, height, 0, terms[t].k, copy, &begun[t].a);
        copy += terms[t].a.copied_elements(tiles, rows, terms[t].k, terms[t].k);
      }
      for (int64_t j = 0; j < count; ++j) {
        const int64_t column = j * kPanelColumns, width = std::min(kPanelColumns, columns - column);
        float* tile = cut ? sums + (strip * count + j) * tile_size : whole;
        const uint32_t* panel = panels + j * pairs * kPanelColumns;
        auto term_at = [&](size_t t) {
          Bf16Term term = begun[t];
          term.panel += j * term.pairs * kPanelColumns;
          return term;
        };
        if (is_first && terms.size() == 1) {
          tiles.multiply_after(term_at(0), strips_of_a[place], used, panel, pairs, width, tile);
        } else {
          for (size_t t = 0; is_first && t < terms.size(); ++t) {
            const Bf16Term term = term_at(t);
            tiles.multiply(term.a, used, term.panel, term.pairs, width, part, false);
            (t == 0 ? vectors.scale : vectors.axpy)(term.scale, part, tile, used * kPanelColumns);
          }
          tiles.multiply(strips_of_a[place], used, panel, pairs, width, tile, !is_first || !terms.empty());
        }
        if (is_last) store(tiles, tile, row, used, col0 + column, width, main.scale, target);
      }
    }
  }
}

// matmul() as products.
struct Products {
  Product main;
  std::vector<Product> terms;
  int64_t m, n;
  bool swapped;
  Products(const MatmulArgs& args, int64_t rows, int64_t columns, int64_t k)
      : m(rows), n(columns), swapped(turns(args, rows, columns)) {
    // Aᵀ B with few columns is (Bᵀ A)ᵀ: the wide operand is read line by line into panels.
    main = swapped ? Product{left(*args.b, true), right(args.a, nullptr, false), k, args.alpha}
                   : Product{left(*args.a, args.transpose_a),
                             right(args.b, args.quantized_b, args.transpose_b), k, args.alpha};
    if (swapped) std::swap(m, n);
    for (const LowRankTerm& term : args.terms)
      terms.push_back(
          {left(*term.a, false), right(term.b, nullptr, term.transpose_b), term.a->cols(), term.scale});
  }
  static bool turns(const MatmulArgs& args, int64_t m, int64_t n) {
    return args.transpose_a && !args.transpose_b && !args.quantized_b && n <= kPanelColumns && n < m &&
           !args.bias && args.terms.empty() && args.out->dtype() == DType::kF32;
  }
  static LeftOperand left(const Tensor& x, bool transposed) {
    return {x.raw(), x.dtype(), x.cols(), transposed};
  }
  static RightOperand right(const Tensor* x, const QuantizedMatrix* quantized, bool transposed) {
    if (quantized) return {nullptr, quantized->dtype, quantized->cols, transposed, quantized};
    return {x->raw(), x->dtype(), x->cols(), transposed};
  }
};

}  // namespace

void bf16_matmul(const MatmulArgs& args, int64_t m, int64_t n, int64_t k, const Bf16Tiles& tiles) {
  const Products products(args, m, n, k);
  FETTLE_CHECK(products.terms.empty() || args.alpha != 0, "terms beside a product times {}", args.alpha);
  const Tiling tiling(tiles, products.m, products.n, k, products.main.a.transposed, thread_count());
  std::vector<float> bias_buffer(args.bias && args.bias->dtype() != DType::kF32 ? static_cast<size_t>(n) : 0);
  const float* bias = args.bias ? row_f32(*args.bias, 0, n, bias_buffer.data()) : nullptr;
  const Target target{args.out->raw(), args.out->dtype(), n, args.beta, bias, products.swapped};
  parallel_for(tiling.tiles_m * tiling.tiles_n, [&](int64_t tile) {
    const int64_t row0 = tile % tiling.tiles_m * tiling.tile_m, col0 = tile / tiling.tiles_m * tiling.tile_n;
    multiply_block(tiles, products.main, products.terms, tiling, row0,
                   std::min(tiling.tile_m, products.m - row0), col0,
                   std::min(tiling.tile_n, products.n - col0), target);
  });
}

void rehearse_bf16_matmul(const MatmulArgs& args, int64_t m, int64_t n, int64_t k, const ScratchNeed& need) {
  const Bf16Tiles& tiles = bf16_tiles();
  const Products products(args, m, n, k);
  const Tiling tiling(tiles, products.m, products.n, k, products.main.a.transposed, thread_count());
  const int64_t threads = tiling.tiles_m * tiling.tiles_n,
                depth = std::min(tiling.depth, std::max<int64_t>(k, 1));
  auto halves = [&](int slot, int64_t elements) {
    if (elements > 0) need(slot, (elements + 1) / 2, threads);
  };
  int64_t words = 0;
  auto operand = [&](const Product& product, int64_t used) {
    words += rounded_up(used, tiles.unit) / 2 * tiling.tile_n;
    halves(kConverted, product.b.converted_elements(tiling.tile_n));
    if (product.a.transposed && product.a.dtype != DType::kBF16)
      halves(kLeftBlock, kMostStrips * tiles.strip * used);
    return product.a.copied_elements(tiles, products.m % tiles.strip, product.k, used);
  };
  halves(kLeft, operand(products.main, depth));
  int64_t term_copies = 0;
  for (const Product& term : products.terms) term_copies += operand(term, term.k);
  halves(kTermLeft, term_copies);
  need(kPanels, words, threads);
  if (const int64_t sums = tiling.sums(tiles, k)) need(kSums, sums, threads);
}

void bf16_gemm(const Gemm& g) {
  const Product product{
      {g.a, DType::kBF16, g.lda, g.transpose_a}, {g.b, DType::kBF16, g.ldb, g.transpose_b}, g.k, g.alpha};
  const Bf16Tiles& tiles = bf16_tiles();
  const Tiling tiling(tiles, g.m, g.n, g.k, g.transpose_a, 1);
  const Target target{g.c, g.out, g.ldc, g.beta, nullptr};
  for (int64_t col0 = 0; col0 < g.n; col0 += tiling.tile_n)
    for (int64_t row0 = 0; row0 < g.m; row0 += tiling.tile_m)
      multiply_block(tiles, product, {}, tiling, row0, std::min(tiling.tile_m, g.m - row0), col0,
                     std::min(tiling.tile_n, g.n - col0), target);
}

}  // namespace fettle::cpu
