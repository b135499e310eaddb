#include "fettle/kernels/cpu/method_kernels.h"

#include "fettle/kernels/cpu/row_loops.h"

namespace fettle::cpu {
namespace {

// Blocks of a row as the vector kernels take them: columns in `order`, space for a vector past the end.
constexpr int64_t kMostLanes = 16, kPanelRows = 32;
constexpr int64_t kPartialRows = 8 * kPanelRows;  // one sum of block products for so many rows

int64_t padded(int64_t n) {
  return (n + kMostLanes - 1) / kMostLanes * kMostLanes;
}

// `rows` rows of x from `first` as f32 [rows, width + kMostLanes].
float* panel_f32(const Tensor& x, int64_t first, int64_t rows, std::span<const int32_t> order, int slot) {
  const int64_t width = x.cols(), stride = width + kMostLanes;
  float* panel = scratch_f32(slot, kPanelRows * stride);
  for (int64_t r = 0; r < rows; ++r) {
    float* target = panel + r * stride;
    if (order.empty()) {
      read_f32(at(x, (first + r) * width), x.dtype(), target, width);
      continue;
    }
    const float* row = row_f32(x, (first + r) * width, width, scratch_f32(slot + 1, width));
    for (size_t i = 0; i < order.size(); ++i) target[i] = row[order[i]];
  }
  return panel;
}

// Square tiles of 128-bit rows.
typedef uint32_t Quads __attribute__((vector_size(16)));
typedef uint16_t Octets __attribute__((vector_size(16)));

Quads zip_low(Quads a, Quads b) {
  return __builtin_shufflevector(a, b, 0, 4, 1, 5);
}
Quads zip_high(Quads a, Quads b) {
  return __builtin_shufflevector(a, b, 2, 6, 3, 7);
}
Octets zip_low(Octets a, Octets b) {
  return __builtin_shufflevector(a, b, 0, 8, 1, 9, 2, 10, 3, 11);
}
Octets zip_high(Octets a, Octets b) {
  return __builtin_shufflevector(a, b, 4, 12, 5, 13, 6, 14, 7, 15);
}

// target [n, m] = source [m, n]ᵀ
template <typename Row, typename T>
void transpose(const T* source, int64_t m, int64_t n, T* target) {
  constexpr int64_t kSide = sizeof(Row) / sizeof(T);
  const int64_t whole_m = m / kSide * kSide, whole_n = n / kSide * kSide;
  for (int64_t i = 0; i < whole_m; i += kSide)
    for (int64_t j = 0; j < whole_n; j += kSide) {
      std::array<Row, kSide> rows, zipped;
#pragma GCC unroll 8
      for (int64_t r = 0; r < kSide; ++r) std::memcpy(&rows[r], source + (i + r) * n + j, sizeof(Row));
        // log2 of the side perfect shuffles of all elements are a transposition.
#pragma GCC unroll 3
      for (int64_t step = 1; step < kSide; step *= 2) {
#pragma GCC unroll 4
        for (int64_t r = 0; r < kSide / 2; ++r) {
          zipped[2 * r] = zip_low(rows[r], rows[r + kSide / 2]);
          zipped[2 * r + 1] = zip_high(rows[r], rows[r + kSide / 2]);
        }
        rows = zipped;
      }
#pragma GCC unroll 8
      for (int64_t r = 0; r < kSide; ++r) std::memcpy(target + (j + r) * m + i, &rows[r], sizeof(Row));
    }
  for (int64_t i = 0; i < m; ++i)
    for (int64_t j = i < whole_m ? whole_n : 0; j < n; ++j) target[j * m + i] = source[i * n + j];
}

}  // namespace

void scale_columns(const Tensor& x, const Tensor& scale, const Tensor& bias, Tensor& out) {
  int64_t width = x.cols();
  std::vector<float> buffer(static_cast<size_t>(width)), bias_buffer(static_cast<size_t>(width));
  const float* s = row_f32(scale, 0, width, buffer.data());
  const float* b = bias.defined() ? row_f32(bias, 0, width, bias_buffer.data()) : nullptr;
  for_row_runs(x.rows(), width, std::array{in(x), cpu::out(out)},
               [&](const Run<2>& run, int64_t) { run.kernels().scale_columns(run[0], s, b, run[1], width); });
}

void transpose_last(const Tensor& x, Tensor& out) {
  const int64_t m = x.dim(1), n = x.dim(2), area = m * n;
  for_rows(x.dim(0), area, [&](int64_t t) {
    const std::byte* source = at(x, t * area);
    std::byte* target = at(out, t * area);
    if (dtype_size(x.dtype()) == 4)
      transpose<Quads>(reinterpret_cast<const uint32_t*>(source), m, n, reinterpret_cast<uint32_t*>(target));
    else
      transpose<Octets>(reinterpret_cast<const uint16_t*>(source), m, n, reinterpret_cast<uint16_t*>(target));
  });
}

void rotate_blocks(const Tensor& x, const Tensor& blocks, bool transpose, std::span<const int32_t> order,
                   Tensor& out) {
  const int64_t width = x.cols(), size = blocks.dim(1), count = width / size, stride = width + kMostLanes;
  // Rows of R, or of its transpose, in whole vectors.
  const int64_t columns = padded(size), area = size * columns;
  const int64_t step = blocks.dim(0) == 1 ? 0 : area;
  std::vector<float> matrices(static_cast<size_t>(blocks.dim(0) * area));
  for (int64_t n = 0; n < blocks.dim(0); ++n)
    for (int64_t i = 0; i < size; ++i)
      for (int64_t j = 0; j < size; ++j)
        matrices[static_cast<size_t>(n * area + i * columns + j)] =
            blocks.data<float>()[n * size * size + (transpose ? j * size + i : i * size + j)];
  parallel_for((x.rows() + kPanelRows - 1) / kPanelRows, [&](int64_t chunk) {
    const int64_t first = chunk * kPanelRows, rows = std::min(kPanelRows, x.rows() - first);
    const float* source = panel_f32(x, first, rows, order, 0);
    float* turned = scratch_f32(2, kPanelRows * stride);
    // In this order of blocks the lanes past a block's end are overwritten by the next block.
    for (int64_t n = 0; n < count; ++n)
      vector_kernels().rotate_block(source + n * size, stride, rows, matrices.data() + n * step, size,
                                    columns, turned + n * size);
    for (int64_t r = 0; r < rows; ++r) {
      const float* row = turned + r * stride;
      if (!order.empty()) {
        float* placed = scratch_f32(3, width);
        for (size_t i = 0; i < order.size(); ++i) placed[order[i]] = row[i];
        row = placed;
      }
      write_f32(row, at(out, (first + r) * width), out.dtype(), width);
    }
  });
}

void add_block_products(const Tensor& x, const Tensor& dy, std::span<const int32_t> order, Tensor& dblocks) {
  const int64_t width = x.cols(), size = dblocks.dim(1), count = width / size, stride = width + kMostLanes;
  const int64_t columns = padded(size), area = size * columns,
                chunks = (x.rows() + kPartialRows - 1) / kPartialRows;
  std::vector<float> sums(static_cast<size_t>(chunks * count * area));
  parallel_for(chunks, [&](int64_t chunk) {
    const int64_t end = std::min(x.rows(), (chunk + 1) * kPartialRows);
    for (int64_t first = chunk * kPartialRows; first < end; first += kPanelRows) {
      const int64_t rows = std::min(kPanelRows, end - first);
      const float *a = panel_f32(x, first, rows, order, 0), *b = panel_f32(dy, first, rows, order, 2);
      for (int64_t n = 0; n < count; ++n)
        vector_kernels().add_block_product(a + n * size, b + n * size, stride, rows, size, columns,
                                           sums.data() + (chunk * count + n) * area);
    }
  });
  const bool shared = dblocks.dim(0) == 1;
  for (int64_t n = 0; n < chunks * count; ++n)
    for (int64_t i = 0; i < size; ++i) {
      float* target = dblocks.data<float>() + ((shared ? 0 : n % count) * size + i) * size;
      vector_kernels().add(target, sums.data() + n * area + i * columns, target, size);
    }
}

void rehearse_blocks(const Tensor& x, bool products, const ScratchNeed& need) {
  const int64_t rows = products ? kPartialRows : kPanelRows, panel = kPanelRows * (x.cols() + kMostLanes);
  for (int slot : {0, 2}) need(slot, panel, (x.rows() + rows - 1) / rows);
}

}  // namespace fettle::cpu
