// Products of a few rows in every instruction set that this machine has, against sums in f64.
#include "fettle/kernels/cpu/row_products.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include "fettle/base/random.h"
#include "fettle/base/system.h"
#include "fettle/kernels/backend.h"
#include "fettle/kernels/quantized.h"

namespace fettle::cpu {
namespace {

struct Table {
  const char* name;
  const RowProducts* products;
};

std::vector<Table> tables() {
  std::vector<Table> all = {{"baseline", &kBaselineRowProducts}};
  const CpuFeatures features = cpu_info().features;
  if (features.avx2) all.push_back({"avx2", &kAvx2RowProducts});
  if (features.avx512) all.push_back({"avx512", &kAvx512RowProducts});
  return all;
}

class RowProductsTest : public ::testing::Test {
 protected:
  std::vector<float> normal(int64_t n) {
    std::vector<float> values(static_cast<size_t>(n));
    for (float& v : values) v = static_cast<float>(stream_.normal());
    return values;
  }
  // m rows, padded.
  std::vector<float> rows_of_x(int64_t m, int64_t k) {
    std::vector<float> x(static_cast<size_t>(m * padded_row(k)));
    for (int64_t i = 0; i < m; ++i) {
      std::vector<float> row = normal(k);
      std::copy(row.begin(), row.end(), x.begin() + i * padded_row(k));
    }
    return x;
  }
  static void run(const Table& table, const Tensor& w, const float* x, int64_t m, float* y) {
    const int64_t n = w.rows(), k = w.cols();
    const size_t kernel = w.dtype() == DType::kF32 ? 0 : w.dtype() == DType::kBF16 ? 1 : 2;
    table.products->products[kernel](x, m, k, w.raw(), k, n, y);
  }
  RandomStream stream_{{6, RandomUse::kSynthetic, 0, 0}};
};

TEST_F(RowProductsTest, AgreesWithF64AtAnyLength) {
  for (DType dtype : {DType::kF32, DType::kBF16, DType::kF16})
    for (int64_t k : {1, 15, 63, 64, 65, 127, 896, 1000})
      for (int64_t n : {1, 5}) {
        const Tensor w = Tensor::from(normal(n * k), {n, k}).to(dtype), exact = w.to(DType::kF64);
        const std::vector<float> x = rows_of_x(kFewRows, k);
        for (const Table& table : tables())
          for (int64_t m = 1; m <= kFewRows; ++m) {
            std::vector<float> y(static_cast<size_t>(m * n));
            run(table, w, x.data(), m, y.data());
            for (int64_t i = 0; i < m; ++i)
              for (int64_t j = 0; j < n; ++j) {
                double want = 0, size = 0;
                for (int64_t t = 0; t < k; ++t) {
                  const double term =
                      x[static_cast<size_t>(i * padded_row(k) + t)] * exact.data<double>()[j * k + t];
                  want += term;
                  size += std::abs(term);
                }
                ASSERT_NEAR(y[static_cast<size_t>(i * n + j)], want, 2e-6 * size)
                    << table.name << " " << dtype_name(dtype) << " k " << k << " m " << m;
              }
          }
      }
}

// A row's result does not depend on the rows beside it, so text that is generated in a batch is the text that
// is generated alone.
TEST_F(RowProductsTest, RowsDoNotKnowEachOther) {
  for (DType dtype : {DType::kF32, DType::kBF16, DType::kF16}) {
    const int64_t n = 9, k = 333;
    const Tensor w = Tensor::from(normal(n * k), {n, k}).to(dtype);
    const std::vector<float> x = rows_of_x(kFewRows, k);
    for (const Table& table : tables())
      for (int64_t m = 2; m <= kFewRows; ++m) {
        std::vector<float> together(static_cast<size_t>(m * n)), alone(together.size());
        run(table, w, x.data(), m, together.data());
        for (int64_t i = 0; i < m; ++i) run(table, w, x.data() + i * padded_row(k), 1, alone.data() + i * n);
        EXPECT_EQ(together, alone) << table.name << " " << dtype_name(dtype) << " m " << m;
      }
  }
}

// Zeros behind x must not meet what lies behind a row of weights, and infinities stay.
TEST_F(RowProductsTest, NothingBehindARowIsRead) {
  const int64_t k = 70;
  for (DType dtype : {DType::kF32, DType::kBF16, DType::kF16}) {
    std::vector<float> values(static_cast<size_t>(2 * k), 1.0f);
    std::fill(values.begin() + k, values.end(), NAN);
    values[3] = 0.25f;
    const Tensor w = Tensor::from(values, {2, k}).to(dtype);
    std::vector<float> x(static_cast<size_t>(padded_row(k)), 0.0f);
    std::fill(x.begin(), x.begin() + k, 1.0f);
    for (const Table& table : tables()) {
      float y[2];
      run(table, w, x.data(), 1, y);
      EXPECT_EQ(y[0], static_cast<float>(k) - 0.75f) << table.name;
      EXPECT_TRUE(std::isnan(y[1])) << table.name;
    }
  }
}

// Rows that stand apart, as the keys of one head do.
TEST_F(RowProductsTest, CombinationsAgreeWithF64) {
  for (DType dtype : {DType::kF32, DType::kBF16, DType::kF16})
    for (int64_t k : {3, 64, 80, 100, 200}) {
      const int64_t n = 37, stride = 3 * k, m = 7;
      const Tensor w = Tensor::from(normal(n * stride), {n, stride}).to(dtype), exact = w.to(DType::kF64);
      const std::vector<float> p = normal(m * n), start = normal(m * k);
      for (const Table& table : tables()) {
        std::vector<float> y = start;
        const size_t kernel = dtype == DType::kF32 ? 0 : dtype == DType::kBF16 ? 1 : 2;
        const auto* from =
            static_cast<const std::byte*>(w.raw()) + static_cast<size_t>(k) * dtype_size(dtype);
        table.products->combinations[kernel](p.data(), m, k, from, stride, n, y.data());
        for (int64_t i = 0; i < m; ++i)
          for (int64_t c = 0; c < k; ++c) {
            double want = start[static_cast<size_t>(i * k + c)], size = std::abs(want);
            for (int64_t j = 0; j < n; ++j) {
              const double term =
                  p[static_cast<size_t>(i * n + j)] * exact.data<double>()[j * stride + k + c];
              want += term;
              size += std::abs(term);
            }
            ASSERT_NEAR(y[static_cast<size_t>(i * k + c)], want, 2e-6 * size)
                << table.name << " " << dtype_name(dtype) << " k " << k;
          }
      }
    }
}

// The 4-bit kernels of every instruction set: lengths of half a register of words, blocks that span rows and
// rows that begin inside a block.
TEST_F(RowProductsTest, CodesAgreeWithTheirValues) {
  for (QuantKind kind : {QuantKind::kNF4, QuantKind::kFP4})
    for (DType dtype : {DType::kF32, DType::kBF16, DType::kF16})
      for (int64_t blocksize : {64, 128, 256, 1024})
        for (int64_t k : {64, 128, 192, 896}) {
          const int64_t n = 6, first = 1, rows = n - first;
          auto w = quantize_4bit(Tensor::from(normal(n * k), {n, k}).to(dtype), kind, blocksize, true);
          const int64_t begin = first * k, block = begin / blocksize;
          std::vector<float> scales(static_cast<size_t>(w->blocks() - block)),
              values(static_cast<size_t>(n * k));
          block_scales(*w, block, w->blocks() - block, scales.data());
          dequantize(*w, 0, n * k, values.data());
          const CodeRows codes{.packed = w->packed.data<uint8_t>() + begin / 2,
                               .code = quant_code(kind).data(),
                               .scales = scales.data(),
                               .begin = begin % blocksize,
                               .blocksize = blocksize,
                               .rounding = dtype == DType::kBF16  ? Rounding::kBf16
                                           : dtype == DType::kF16 ? Rounding::kF16
                                                                  : Rounding::kNone};
          const std::vector<float> x = normal(kFewRows * k);
          for (const Table& table : tables()) {
            SCOPED_TRACE(fmt::format("{} {} {} blocks of {} k {}", table.name, quant_kind_name(kind),
                                     dtype_name(dtype), blocksize, k));
            std::vector<float> ordered(static_cast<size_t>(kFewRows * padded_code_row(k)), NAN),
                alone(static_cast<size_t>(kFewRows * rows));
            for (int64_t i = 0; i < kFewRows; ++i) {
              float* row = ordered.data() + i * padded_code_row(k);
              table.products->in_code_order(x.data() + i * k, k, row);
              table.products->codes(row, 1, k, codes, rows, alone.data() + i * rows);
            }
            for (int64_t i = 0; i < kFewRows; ++i)
              for (int64_t j = 0; j < rows; ++j) {
                double want = 0, size = 0;
                for (int64_t t = 0; t < k; ++t) {
                  const double term = static_cast<double>(x[static_cast<size_t>(i * k + t)]) *
                                      values[static_cast<size_t>((first + j) * k + t)];
                  want += term;
                  size += std::abs(term);
                }
                ASSERT_NEAR(alone[static_cast<size_t>(i * rows + j)], want, 2e-6 * size);
              }
            for (int64_t m = 2; m <= kFewRows; ++m) {
              std::vector<float> together(static_cast<size_t>(m * rows));
              table.products->codes(ordered.data(), m, k, codes, rows, together.data());
              EXPECT_EQ(std::memcmp(together.data(), alone.data(), together.size() * 4), 0) << m << " rows";
            }
          }
        }
}

// Products of quantised weights as the backend cuts them, of every block size and of lengths that no kernel
// takes whole, against the reference backend, which dequantises.
TEST_F(RowProductsTest, QuantisedWeightsOfAnyShape) {
  auto compare = [&](const QuantizedMatrix& w, const std::string& what) {
    for (int64_t m = 1; m <= kFewRows; ++m) {
      const Tensor x = Tensor::from(normal(m * w.cols), {m, w.cols}),
                   bias = Tensor::from(normal(w.rows), {w.rows});
      auto product = [&](Backend& backend) {
        Tensor y = Tensor::zeros({m, w.rows}, DType::kF32);
        backend.matmul(
            {.a = &x, .quantized_b = &w, .out = &y, .transpose_b = true, .alpha = 0.5f, .bias = &bias});
        return y;
      };
      const Tensor want = product(reference_backend()), got = product(cpu_backend());
      double size = 0;
      for (float v : want.span<float>()) size = std::max<double>(size, std::abs(v));
      for (int64_t i = 0; i < want.numel(); ++i)
        ASSERT_NEAR(got.data<float>()[i], want.data<float>()[i], 3e-6 * size) << what << ", m " << m;
    }
  };
  for (int64_t k : {33, 64, 100, 320})
    for (int64_t n : {3, 700}) {
      const Tensor values = Tensor::from(normal(n * k), {n, k}).to(DType::kBF16);
      for (int64_t blocksize = 32; blocksize <= 4096; blocksize *= 2)
        for (bool nested : {false, true})
          compare(*quantize_4bit(values, QuantKind::kNF4, blocksize, nested),
                  fmt::format("[{}, {}], blocks of {}", n, k, blocksize));
      compare(*quantize_8bit(values), fmt::format("[{}, {}], 8 bits", n, k));
    }
}

}  // namespace
}  // namespace fettle::cpu
