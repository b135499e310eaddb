// Products of a few rows in every instruction set that this machine has, against sums in f64.
#include "fettle/kernels/cpu/row_products.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include "fettle/base/random.h"
#include "fettle/base/system.h"
#include "fettle/tensor/tensor.h"

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
    if (w.dtype() == DType::kF32)
      table.products->f32(x, m, k, w.data<float>(), n, y);
    else if (w.dtype() == DType::kBF16)
      table.products->bf16(x, m, k, static_cast<const uint16_t*>(w.raw()), n, y);
    else
      table.products->f16(x, m, k, static_cast<const uint16_t*>(w.raw()), n, y);
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

}  // namespace
}  // namespace fettle::cpu
