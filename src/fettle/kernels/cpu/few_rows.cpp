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

}  // namespace

bool takes_few_rows(const MatmulArgs& args, int64_t m) {
  return m <= kFewRows && args.transpose_b && !args.transpose_a;
}

void few_rows(const MatmulArgs& args, int64_t m, int64_t n, int64_t k) {
  const VectorKernels& v = vector_kernels();
  const RowProducts& products = row_products();
  const Tensor& a = *args.a;
  Tensor& out = *args.out;
  const int64_t stride = padded_row(k);
  std::vector<float> x(static_cast<size_t>(m * stride));
  for (int64_t i = 0; i < m; ++i) read_f32(at(a, i * k), a.dtype(), x.data() + i * stride, k);
  const QuantizedMatrix* quantized = args.quantized_b;
  const int64_t row_bytes =
      std::max<int64_t>(1, quantized ? k / (quantized->kind == QuantKind::kInt8 ? 1 : 2)
                                     : k * static_cast<int64_t>(dtype_size(args.b->dtype())));
  const int64_t run = rows_of_chunk(n, row_bytes);
  parallel_for((n + run - 1) / run, [&](int64_t chunk) {
    const int64_t first = chunk * run, rows = std::min(run, n - first);
    float* const y = scratch_f32(15, m * rows);
    if (quantized) {
      float* values = scratch_f32(16, k);
      for (int64_t j = 0; j < rows; ++j) {
        dequantize(*quantized, (first + j) * k, k, values, quantized->dtype == DType::kF16);
        if (quantized->dtype == DType::kBF16) v.round_bf16(values, k);
        float one[kFewRows];
        products.f32(x.data(), m, k, values, 1, one);
        for (int64_t i = 0; i < m; ++i) y[i * rows + j] = one[i];
      }
    } else {
      const std::byte* w = at(*args.b, first * k);
      switch (args.b->dtype()) {
        case DType::kF32:
          products.f32(x.data(), m, k, reinterpret_cast<const float*>(w), rows, y);
          break;
        case DType::kBF16:
          products.bf16(x.data(), m, k, reinterpret_cast<const uint16_t*>(w), rows, y);
          break;
        case DType::kF16:
          products.f16(x.data(), m, k, reinterpret_cast<const uint16_t*>(w), rows, y);
          break;
        default:
          FETTLE_CHECK(false, "the CPU backend has no products of {}", dtype_name(args.b->dtype()));
      }
    }
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
