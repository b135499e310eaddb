#include "fettle/kernels/cpu/few_rows.h"

#include <algorithm>

#include "fettle/base/threads.h"
#include "fettle/kernels/cpu/row_products.h"

namespace fettle::cpu {
namespace {

// Weight rows of a chunk: long runs for the prefetcher, and enough chunks for every core.
int64_t rows_of_chunk(int64_t n, int64_t row_bytes) {
  constexpr int64_t kLeast = 1 << 15, kMost = 1 << 18, kChunks = 16, kTogether = 4;
  const int64_t bytes = std::clamp(n * row_bytes / kChunks, kLeast, kMost);
  return (bytes / row_bytes + kTogether) / kTogether * kTogether;
}

// Rows of x that products of `w` want, and whether they take its codes as they are.
struct FewRows {
  std::vector<float> rows;
  bool codes = false;
  FewRows(const Tensor& a, int64_t m, int64_t k, const QuantizedMatrix* w) {
    codes = w && w->kind != QuantKind::kInt8 && k % kCodeRun == 0 && w->blocksize % kCodeRun == 0;
    const int64_t stride = codes ? padded_code_row(k) : padded_row(k);
    rows.resize(static_cast<size_t>(m * stride));
    std::vector<float> row(static_cast<size_t>(codes ? k : 0));
    for (int64_t i = 0; i < m; ++i) {
      read_f32(at(a, i * k), a.dtype(), codes ? row.data() : rows.data() + i * stride, k);
      if (codes) row_products().in_code_order(row.data(), k, rows.data() + i * stride);
    }
  }
};

// y[m, rows] = x Wᵀ for rows of a quantised weight from `first` on.
void quantized_products(const FewRows& x, int64_t m, int64_t k, const QuantizedMatrix& w, int64_t first,
                        int64_t rows, float* y) {
  const RowProducts& products = row_products();
  if (x.codes) {
    const int64_t begin = first * k, block = begin / w.blocksize,
                  blocks = (begin + rows * k - 1) / w.blocksize - block + 1;
    float* scales = scratch_f32(16, blocks);
    block_scales(w, block, blocks, scales);
    const CodeRows codes{.packed = w.packed.data<uint8_t>() + begin / 2,
                         .code = quant_code(w.kind).data(),
                         .scales = scales,
                         .begin = begin - block * w.blocksize,
                         .blocksize = w.blocksize,
                         .rounding = w.dtype == DType::kBF16  ? Rounding::kBf16
                                     : w.dtype == DType::kF16 ? Rounding::kF16
                                                              : Rounding::kNone};
    return products.codes(x.rows.data(), m, k, codes, rows, y);
  }
  if (w.kind == QuantKind::kInt8 && w.dtype == DType::kF32) {
    products.products[3](x.rows.data(), m, k, w.packed.data<int8_t>() + first * k, k, rows, y);
    for (int64_t i = 0; i < m; ++i)
      for (int64_t j = 0; j < rows; ++j) y[i * rows + j] *= int8_scale(w, first + j);
    return;
  }
  float* values = scratch_f32(16, k);
  for (int64_t j = 0; j < rows; ++j) {
    dequantize(w, (first + j) * k, k, values);
    float one[kFewRows];
    products.products[0](x.rows.data(), m, k, values, k, 1, one);
    for (int64_t i = 0; i < m; ++i) y[i * rows + j] = one[i];
  }
}

}  // namespace

RowKernel row_kernel(const RowKernel* kernels, DType dtype) {
  FETTLE_CHECK(dtype == DType::kF32 || dtype == DType::kBF16 || dtype == DType::kF16,
               "the CPU backend has no products of {}", dtype_name(dtype));
  return kernels[dtype == DType::kF32 ? 0 : dtype == DType::kBF16 ? 1 : 2];
}

bool takes_few_rows(const MatmulArgs& args, int64_t m) {
  return m <= kFewRows && args.transpose_b && !args.transpose_a;
}

void few_rows(const MatmulArgs& args, int64_t m, int64_t n, int64_t k) {
  const VectorKernels& v = vector_kernels();
  Tensor& out = *args.out;
  const QuantizedMatrix* quantized = args.quantized_b;
  const FewRows x(*args.a, m, k, quantized);
  const int64_t row_bytes =
      std::max<int64_t>(1, quantized ? k / (quantized->kind == QuantKind::kInt8 ? 1 : 2)
                                     : k * static_cast<int64_t>(dtype_size(args.b->dtype())));
  const int64_t run = rows_of_chunk(n, row_bytes);
  parallel_for((n + run - 1) / run, [&](int64_t chunk) {
    const int64_t first = chunk * run, rows = std::min(run, n - first);
    float* const y = scratch_f32(15, m * rows);
    if (quantized)
      quantized_products(x, m, k, *quantized, first, rows, y);
    else
      row_kernel(row_products().products, args.b->dtype())(x.rows.data(), m, k, at(*args.b, first * k), k,
                                                           rows, y);
    float* const buffer = scratch_f32(17, rows);
    for (int64_t i = 0; i < m; ++i) {
      float* const row = y + i * rows;
      const int64_t element = i * n + first;
      if (args.alpha != 1.0f) v.scale(args.alpha, row, row, rows);
      if (args.beta != 0) v.axpy(args.beta, row_f32(out, element, rows, buffer), row, rows);
      if (args.bias) v.add(row, row_f32(*args.bias, first, rows, buffer), row, rows);
      write_f32(row, at(out, element), out.dtype(), rows);
    }
  });
}

}  // namespace fettle::cpu
