// Products of bf16 operands: sums to f32's accuracy at every edge of a tile, rows that do not depend on their
// neighbours, low-rank terms, quantised weights. Where bf16 is not native they run in f32.
#include <gtest/gtest.h>

#include <cmath>

#include "fettle/base/random.h"
#include "fettle/base/threads.h"
#include "fettle/kernels/backend.h"
#include "fettle/kernels/cpu/bf16_products.h"
#include "kernels/amx_emulator.h"

namespace fettle {
namespace {

class Bf16Products : public ::testing::Test {
 protected:
  Tensor random(Shape shape, DType dtype = DType::kBF16) {
    Tensor t = Tensor::empty(std::move(shape), DType::kF32);
    for (float& v : t.span<float>()) v = static_cast<float>(stream_.normal());
    return t.to(dtype);
  }
  static Tensor multiply(Backend& backend, MatmulArgs args, Shape shape, DType dtype = DType::kF32) {
    Tensor out = Tensor::zeros(std::move(shape), dtype);
    args.out = &out;
    args.compute = DType::kBF16;
    backend.matmul(args);
    return out;
  }
  static void expect_near(const Tensor& got, const Tensor& want, double tolerance) {
    const Tensor x = got.to(DType::kF64), y = want.to(DType::kF64);
    double size = 1e-6;
    for (double v : y.span<double>()) size = std::max(size, std::abs(v));
    for (int64_t i = 0; i < x.numel(); ++i)
      ASSERT_NEAR(x.data<double>()[i], y.data<double>()[i], tolerance * size) << "element " << i;
  }
  static bool same_bits(const Tensor& x, const Tensor& y) {
    return x.nbytes() == y.nbytes() && std::memcmp(x.raw(), y.raw(), x.nbytes()) == 0;
  }

  RandomStream stream_{{11, RandomUse::kSynthetic, 0, 0}};
};

TEST_F(Bf16Products, SumsAreAccurateAtEveryEdgeOfATile) {
  for (int64_t m : {1, 5, 11, 12, 13, 25, 33})
    for (int64_t n : {1, 15, 17, 32, 33, 70})
      for (int64_t k : {1, 2, 3, 31, 32, 33, 100})
        for (bool ta : {false, true})
          for (bool tb : {false, true}) {
            const Tensor a = random(ta ? Shape{k, m} : Shape{m, k}),
                         b = random(tb ? Shape{n, k} : Shape{k, n});
            const MatmulArgs args{.a = &a, .b = &b, .transpose_a = ta, .transpose_b = tb, .alpha = 0.75f};
            SCOPED_TRACE(fmt::format("m {} n {} k {} ta {} tb {}", m, n, k, ta, tb));
            const Tensor want = multiply(reference_backend(), args, {m, n});
            expect_near(multiply(cpu_backend(), args, {m, n}), want, 1e-6);
            if (HasFatalFailure()) return;
            for (DType dtype : {DType::kBF16, DType::kF16})
              expect_near(multiply(cpu_backend(), args, {m, n}, dtype), want, 5e-3);
            if (HasFatalFailure()) return;
          }
}

TEST_F(Bf16Products, NothingIsReadBesideAnOperand) {
  // What lies behind the operands is no number.
  const int64_t m = 13, n = 35, k = 33;
  Tensor left = random({m + 1, k}), right = random({n + 1, k});
  for (Tensor* t : {&left, &right})
    for (int64_t i = 0; i < k; ++i) static_cast<uint16_t*>(t->raw())[(t->rows() - 1) * k + i] = 0x7FC0;
  const Tensor a = left.rows_view(0, m), b = right.rows_view(0, n);
  const MatmulArgs args{.a = &a, .b = &b, .transpose_b = true};
  expect_near(multiply(cpu_backend(), args, {m, n}), multiply(reference_backend(), args, {m, n}), 1e-6);
}

TEST_F(Bf16Products, ARowDoesNotDependOnTheOthersNorOnThreads) {
  if (!cpu_backend().has_native_bf16()) GTEST_SKIP() << "oneDNN's sums in f32 follow the shape";
  const int64_t m = 205, n = 700, k = 7000;  // longer than one cut of the summed dimension
  const Tensor a = random({m, k}), b = random({n, k});
  const Tensor all = multiply(cpu_backend(), {.a = &a, .b = &b, .transpose_b = true}, {m, n});
  for (int threads : {1, 5}) {
    set_thread_count(threads);
    for (int64_t begin : {0, 7, 190}) {
      const Tensor some = a.rows_view(begin, begin + 7);
      const Tensor part = multiply(cpu_backend(), {.a = &some, .b = &b, .transpose_b = true}, {7, n});
      EXPECT_TRUE(same_bits(part, all.rows_view(begin, begin + 7))) << begin << " " << threads;
    }
  }
  set_thread_count(2);
}

TEST_F(Bf16Products, TermsOfLowRankJoinTheSum) {
  for (int64_t m : {3, 50})
    for (DType compute : {DType::kBF16, DType::kF32})
      for (bool transposed : {false, true}) {
        const int64_t n = 75, k = 64;
        const Tensor x = random({m, k}, compute), w = random(transposed ? Shape{n, k} : Shape{k, n}),
                     bias = random({n}, DType::kF32), start = random({m, n}, compute);
        const Tensor p = random({m, 16}, compute), q = random({m, 5}, compute),
                     b = random(transposed ? Shape{n, 16} : Shape{16, n}, DType::kF32),
                     c = random(transposed ? Shape{n, 5} : Shape{5, n}, DType::kF32);
        const std::vector<LowRankTerm> terms = {{&p, &b, transposed, 1.7f}, {&q, &c, transposed, 0.3f}};
        Tensor out[2];
        for (int i : {0, 1}) {
          Backend& backend = i == 0 ? cpu_backend() : reference_backend();
          out[i] = start.clone();
          backend.matmul({.a = &x,
                          .b = &w,
                          .out = &out[i],
                          .transpose_b = transposed,
                          .alpha = 0.5f,
                          .beta = 1.0f,
                          .bias = &bias,
                          .terms = terms,
                          .compute = compute});
        }
        SCOPED_TRACE(fmt::format("m {} {} {}", m, dtype_name(compute), transposed));
        expect_near(out[0], out[1], compute == DType::kF32 ? 1e-5 : 1e-2);
      }
}

// On machines without AMX its instructions are emulated.
TEST_F(Bf16Products, TilesOfAmxGiveTheSame) {
  if (!cpu_backend().has_native_bf16()) GTEST_SKIP() << "packing needs AVX512-BF16";
  const test::AmxEmulator emulator;
  for (auto [m, n, k] : {std::array<int64_t, 3>{1, 1, 1},
                         {5, 17, 3},
                         {16, 16, 32},
                         {17, 33, 31},
                         {33, 48, 100},
                         {70, 65, 64},
                         {40, 100, 6200},
                         {64, 40, 6209}})
    for (bool ta : {false, true})
      for (bool tb : {false, true}) {
        const Tensor a = random(ta ? Shape{k, m} : Shape{m, k}), b = random(tb ? Shape{n, k} : Shape{k, n});
        const Tensor left = random({m, 8}), right = random({8, n}, DType::kF32), start = random({m, n});
        const std::vector<LowRankTerm> terms = {{&left, &right, false, 0.5f}};
        for (DType dtype : {DType::kF32, DType::kBF16}) {
          Tensor got = start.to(dtype), want = got.clone();
          MatmulArgs args{.a = &a,
                          .b = &b,
                          .transpose_a = ta,
                          .transpose_b = tb,
                          .alpha = 0.75f,
                          .beta = 1.0f,
                          .terms = terms,
                          .compute = DType::kBF16};
          args.out = &got;
          cpu::bf16_matmul(args, m, n, k, cpu::kAmxTiles);
          args.out = &want;
          cpu::bf16_matmul(args, m, n, k, cpu::kAvx512Bf16Tiles);
          SCOPED_TRACE(fmt::format("m {} n {} k {} ta {} tb {} {}", m, n, k, ta, tb, dtype_name(dtype)));
          expect_near(got, want, dtype == DType::kF32 ? 4e-6 : 5e-3);
          if (HasFatalFailure()) return;
        }
      }
}

TEST_F(Bf16Products, AQuantisedWeightIsWhatItsValuesAre) {
  for (int64_t columns : {64, 97})
    for (int kind = 0; kind < 3; ++kind)
      for (int64_t blocksize : {32, 64, 4096}) {
        const int64_t rows = 130, m = 20;
        const Tensor values = random({rows, columns}, kind == 2 ? DType::kF16 : DType::kBF16);
        const auto quantised =
            kind == 2 ? quantize_8bit(values)
                      : quantize_4bit(values, kind == 0 ? QuantKind::kNF4 : QuantKind::kFP4, blocksize, true);
        const Tensor dense = dequantize(*quantised).to(DType::kBF16);
        for (bool transposed : {false, true}) {
          const Tensor x = random({m, transposed ? columns : rows});
          const Shape shape{m, transposed ? rows : columns};
          const Tensor got = multiply(
              cpu_backend(), {.a = &x, .quantized_b = quantised.get(), .transpose_b = transposed}, shape);
          const Tensor want =
              multiply(cpu_backend(), {.a = &x, .b = &dense, .transpose_b = transposed}, shape);
          SCOPED_TRACE(
              fmt::format("{} {} {} {}", quant_kind_name(quantised->kind), columns, blocksize, transposed));
          if (cpu_backend().has_native_bf16())
            EXPECT_TRUE(same_bits(got, want));
          else
            expect_near(got, want, 1e-2);
        }
      }
}

TEST_F(Bf16Products, AnyRunOfAQuantisedMatrixIsDequantised) {
  const Tensor values = random({37, 53});
  for (int64_t blocksize : {32, 128}) {
    const auto m = quantize_4bit(values, QuantKind::kNF4, blocksize, true);
    const Tensor all = dequantize(*m).to(DType::kBF16);
    for (int64_t begin : {0, 1, 31, 64, 777})
      for (int64_t count : {0, 1, 2, 33, 500}) {
        std::vector<uint16_t> run(static_cast<size_t>(count) + 1, 0x1234);
        dequantize_bf16(*m, begin, count, run.data());
        EXPECT_EQ(std::memcmp(run.data(), static_cast<const uint16_t*>(all.raw()) + begin,
                              static_cast<size_t>(count) * 2),
                  0)
            << begin << " " << count;
        EXPECT_EQ(run.back(), 0x1234);
      }
  }
}

}  // namespace
}  // namespace fettle
