// Every op of the CPU backend against the reference backend, in f32, bf16 and f16, at odd sizes; and bitwise
// the same results for any number of threads.
#include <gtest/gtest.h>

#include <bit>
#include <cmath>

#include "fettle/base/random.h"
#include "fettle/base/threads.h"
#include "fettle/kernels/backend.h"

namespace fettle {
namespace {

using Outputs = std::vector<Tensor>;
/// Runs an op on copies of its inputs and returns everything it wrote.
using Op = std::function<Outputs(Backend&)>;

class CpuBackendTest : public ::testing::TestWithParam<DType> {
 protected:
  Tensor random(Shape shape, DType dtype, double scale = 1.0) {
    Tensor t = Tensor::empty(std::move(shape), DType::kF32);
    for (float& v : t.span<float>()) v = static_cast<float>(scale * stream_.normal());
    return t.to(dtype);
  }
  Tensor act(Shape shape, double scale = 1.0) { return random(std::move(shape), GetParam(), scale); }
  Tensor out(Shape shape) { return Tensor::zeros(std::move(shape), GetParam()); }
  static Tensor f32(Shape shape) { return Tensor::zeros(std::move(shape), DType::kF32); }

  // Differences are measured against the size of the whole output, as rounding errors of sums are.
  void check(const Op& op, double f32_tolerance = 2e-6) {
    Outputs expected = op(reference_backend());
    set_thread_count(1);
    Outputs serial = op(cpu_backend());
    set_thread_count(3);
    Outputs parallel = op(cpu_backend());
    set_thread_count(2);
    ASSERT_EQ(expected.size(), serial.size());
    for (size_t i = 0; i < expected.size(); ++i) {
      double tolerance =
          expected[i].dtype() == DType::kF32 && GetParam() == DType::kF32 ? f32_tolerance : 1.2e-2;
      Tensor want = expected[i].to(DType::kF64), got = serial[i].to(DType::kF64);
      double size = 1e-6;
      for (double v : want.span<double>()) size = std::max(size, std::abs(v));
      for (int64_t j = 0; j < want.numel(); ++j)
        ASSERT_NEAR(got.data<double>()[j], want.data<double>()[j], tolerance * size)
            << "output " << i << " element " << j;
      EXPECT_EQ(std::memcmp(serial[i].raw(), parallel[i].raw(), serial[i].nbytes()), 0)
          << "output " << i << " depends on the number of threads";
    }
  }

  RandomStream stream_{{5, RandomUse::kSynthetic, 0, 0}};
};

TEST_P(CpuBackendTest, Matmul) {
  struct Case {
    int64_t m, n, k;
  };
  for (Case c : {Case{1, 700, 96},
                 {3, 65, 33},
                 {5, 7, 3},
                 {530, 520, 17},
                 {600, 16, 70},
                 {16, 600, 200},
                 {33, 1100, 64}})
    for (bool ta : {false, true})
      for (bool tb : {false, true})
        for (float beta : {0.0f, 1.0f}) {
          Tensor a = act(ta ? Shape{c.k, c.m} : Shape{c.m, c.k}),
                 b = act(tb ? Shape{c.n, c.k} : Shape{c.k, c.n});
          Tensor start = act({c.m, c.n}), bias = act({c.n});
          SCOPED_TRACE(fmt::format("m {} n {} k {} ta {} tb {} beta {}", c.m, c.n, c.k, ta, tb, beta));
          check([&](Backend& backend) -> Outputs {
            Tensor out = start.clone();
            backend.matmul({.a = &a,
                            .b = &b,
                            .out = &out,
                            .transpose_a = ta,
                            .transpose_b = tb,
                            .alpha = 0.5f,
                            .beta = beta,
                            .bias = beta == 0 ? &bias : nullptr,
                            .compute = GetParam()});
            return {out};
          });
        }
}

TEST_P(CpuBackendTest, MatmulOfMixedTypes) {
  for (DType weight : {DType::kF32, DType::kBF16, DType::kF16})
    for (bool tb : {false, true}) {
      Tensor x = act({9, 1100}), w = random(tb ? Shape{1030, 1100} : Shape{1100, 1030}, weight);
      Tensor few = act({2, 1100});
      SCOPED_TRACE(fmt::format("{} {}", dtype_name(weight), tb));
      check([&](Backend& backend) -> Outputs {
        Tensor y = out({9, 1030}), sum = f32({9, 1030}), small = out({2, 1030});
        backend.matmul({.a = &x, .b = &w, .out = &y, .transpose_b = tb, .compute = GetParam()});
        backend.matmul(
            {.a = &x, .b = &w, .out = &sum, .transpose_b = tb, .beta = 1.0f, .compute = GetParam()});
        backend.matmul({.a = &few, .b = &w, .out = &small, .transpose_b = tb, .compute = GetParam()});
        return {y, sum, small};
      });
    }
}

// Longer sums than a converted panel holds.
TEST_P(CpuBackendTest, MatmulOverALongDimension) {
  for (bool tb : {false, true}) {
    Tensor x = act({17, 17000}), w = random(tb ? Shape{65, 17000} : Shape{17000, 65}, DType::kF16),
           start = act({17, 65}), bias = act({65});
    auto products = [&](Backend& backend) -> Outputs {
      Tensor y = out({17, 65}), sum = start.clone(), halved = start.clone();
      backend.matmul({.a = &x, .b = &w, .out = &y, .transpose_b = tb, .bias = &bias, .compute = GetParam()});
      backend.matmul({.a = &x, .b = &w, .out = &sum, .transpose_b = tb, .beta = 1.0f, .compute = GetParam()});
      backend.matmul({.a = &x,
                      .b = &w,
                      .out = &halved,
                      .transpose_b = tb,
                      .alpha = 2.0f,
                      .beta = 0.5f,
                      .compute = GetParam()});
      return {y, sum, halved};
    };
    check(products, 1e-5);
  }
}

TEST_P(CpuBackendTest, ElementWise) {
  Tensor x = act({37, 501}), y = act({37, 501});
  check([&](Backend& b) -> Outputs {
    Tensor sum = out(x.shape()), scaled = x.clone(), axpy = y.clone(),
           narrow = Tensor::zeros(x.shape(), DType::kBF16), columns = f32({501});
    b.add(x, y, sum);
    b.scale(scaled, 0.3);
    b.axpy(-0.7, x, axpy);
    b.convert(x, narrow);
    b.add_column_sums(x, columns);
    return {sum, scaled, axpy, narrow, columns};
  });
  EXPECT_NEAR(cpu_backend().sum_squares(x), reference_backend().sum_squares(x), 1e-9 * x.numel());
}

TEST_P(CpuBackendTest, Dropout) {
  Tensor x = act({41, 333});
  check([&](Backend& b) -> Outputs {
    Tensor y = out(x.shape());
    b.dropout(x, 0.25f, {123456789012345ull, RandomUse::kDropout, 77, 5000000000ull}, y);
    return {y};
  });
}

TEST_P(CpuBackendTest, Norms) {
  for (int64_t width : {5, 64, 897}) {
    Tensor x = act({150, width}), delta = act({150, width}), w = act({width}), bias = act({width}),
           dy = act({150, width});
    check(
        [&](Backend& b) -> Outputs {
          Tensor y = out(x.shape()), rstd = f32({150}), sum = out(x.shape()), y2 = out(x.shape()),
                 rstd2 = f32({150});
          b.rms_norm(x, w, 1e-6f, y, rstd);
          b.add_rms_norm(x, delta, w, 1e-6f, sum, y2, rstd2);
          Tensor dx = out(x.shape()), dx2 = out(x.shape()), dw = f32({width}), none;
          b.rms_norm_backward(dy, x, w, rstd, Tensor(), dx, dw);
          b.rms_norm_backward(dy, x, w, rstd, delta, dx2, none);
          Tensor ly = out(x.shape()), mean = f32({150}), lrstd = f32({150}), ldx = out(x.shape()),
                 ldw = f32({width}), ldb = f32({width});
          b.layer_norm(x, w, bias, 1e-5f, ly, mean, lrstd);
          b.layer_norm_backward(dy, x, w, mean, lrstd, ldx, ldw, ldb);
          return {y, rstd, sum, y2, rstd2, dx, dx2, dw, ly, mean, lrstd, ldx, ldw, ldb};
        },
        2e-5);
  }
}

TEST_P(CpuBackendTest, Rotary) {
  Tensor x = act({9, 3, 20}), cos = random({40, 8}, DType::kF32), sin = random({40, 8}, DType::kF32);
  std::vector<int32_t> positions = {0, 1, 2, 3, 0, 39, 7, 7, 8};
  for (bool inverse : {false, true})
    check([&](Backend& b) -> Outputs {
      Tensor y = out(x.shape()), in_place = x.clone();
      b.rotary(x, positions, cos, sin, inverse, y);
      b.rotary(in_place, positions, cos, sin, inverse, in_place);
      return {y, in_place};
    });
}

TEST_P(CpuBackendTest, Attention) {
  struct Case {
    std::vector<int32_t> q, k;
    int64_t heads, kv_heads, dim;
    bool causal;
    int64_t window;
  };
  for (const Case& c : {Case{{0, 7, 7, 8, 330}, {0, 7, 7, 8, 330}, 4, 2, 16, true, 0},
                        {{0, 300}, {0, 300}, 7, 1, 24, true, 50},
                        {{0, 40, 75}, {0, 40, 75}, 2, 2, 8, false, 0},
                        {{0, 3, 4}, {0, 290, 300}, 6, 2, 32, true, 0},
                        {{0, 4, 5, 5, 7}, {0, 700, 701, 720, 1300}, 14, 2, 80, true, 300},
                        {{0, 1, 21, 24}, {0, 513, 533, 1045}, 5, 1, 64, false, 0},
                        {{0, 2}, {0, 600}, 3, 3, 100, true, 0},
                        {{0, 600}, {0, 600}, 2, 2, 64, true, 0}}) {
    Tensor q = act({c.q.back(), c.heads, c.dim}), k = act({c.k.back(), c.kv_heads, c.dim}),
           v = act({c.k.back(), c.kv_heads, c.dim});
    Tensor dout = act(q.shape());
    AttentionSpec spec{.cu_q = c.q,
                       .cu_k = c.k,
                       .scale = 1.0f / std::sqrt(static_cast<float>(c.dim)),
                       .causal = c.causal,
                       .window = c.window};
    Tensor fixed_out = out(q.shape()), fixed_lse = f32({c.heads, c.q.back()});
    reference_backend().attention(q, k, v, spec, fixed_out, fixed_lse);
    SCOPED_TRACE(fmt::format("{} queries, {} heads, window {}", c.q.back(), c.heads, c.window));
    check(
        [&](Backend& b) -> Outputs {
          Tensor y = out(q.shape()), lse = f32({c.heads, c.q.back()}), dq = out(q.shape()),
                 dk = out(k.shape()), dv = out(v.shape());
          b.attention(q, k, v, spec, y, lse);
          b.attention_backward(dout, q, k, v, fixed_out, fixed_lse, spec, dq, dk, dv);
          return {y, lse, dq, dk, dv};
        },
        1e-5);
  }
}

TEST_P(CpuBackendTest, Swiglu) {
  Tensor gate = act({33, 301}, 3.0), up = act({33, 301}), d = act({33, 301});
  check([&](Backend& b) -> Outputs {
    Tensor y = out(gate.shape()), dg = out(gate.shape()), du = out(gate.shape());
    b.swiglu(gate, up, y);
    b.swiglu_backward(d, gate, up, dg, du);
    return {y, dg, du};
  });
}

TEST_P(CpuBackendTest, EmbeddingAndRows) {
  std::vector<int32_t> ids = {4, 0, 4, 9, 4}, rows = {3, 1};
  for (DType stored : {DType::kF32, DType::kBF16, DType::kF16}) {
    Tensor table = random({10, 77}, stored), d = act({5, 77});
    check([&](Backend& b) -> Outputs {
      Tensor y = out({5, 77}), dtable = f32({10, 77}), gathered = out({2, 77}), scattered = out({5, 77});
      b.embedding(ids, table, y);
      b.embedding_backward(ids, d, dtable);
      b.gather_rows(d, rows, gathered);
      b.scatter_rows(gathered, rows, scattered);
      return {y, dtable, gathered, scattered};
    });
  }
}

TEST_P(CpuBackendTest, CrossEntropy) {
  Tensor logits = act({6, 1031}, 4.0);
  std::vector<int32_t> labels = {0, 1030, 5, 77, 500, 3};
  check(
      [&](Backend& b) -> Outputs {
        Tensor losses = f32({6}), in_place = logits.clone(), none, again = f32({6});
        b.cross_entropy(logits, labels, 0.25f, again, none);
        b.cross_entropy(in_place, labels, 0.25f, losses, in_place);
        return {losses, in_place, again};
      },
      1e-5);
}

TEST_P(CpuBackendTest, ScaledColumns) {
  Tensor x = act({300, 67}), d = act({300, 67}), s = random({67}, DType::kF32),
         b = random({67}, DType::kBF16);
  check([&](Backend& k) -> Outputs {
    Tensor y = out({300, 67}), z = out({300, 67}), sum = f32({67}), none, product = out({300, 67});
    k.scale_columns(x, s, none, y);
    k.scale_columns(x, s, b, z);
    k.add_column_products(x, d, sum);
    k.multiply(x, d, product);
    return {y, z, sum, product};
  });
}

TEST_P(CpuBackendTest, RotatedBlocks) {
  std::vector<int32_t> mixed(60);
  for (size_t i = 0; i < mixed.size(); ++i) mixed[i] = static_cast<int32_t>(i * 7 % 60);
  for (int64_t size : {5, 12, 20})
    for (bool shared : {false, true})
      for (const std::vector<int32_t>& order : {std::vector<int32_t>(), mixed}) {
        Tensor x = act({150, 60}), d = act({150, 60}),
               r = random({shared ? 1 : 60 / size, size, size}, DType::kF32);
        check(
            [&](Backend& k) -> Outputs {
              Tensor y = out({150, 60}), z = x.clone(), dr = f32(r.shape());
              k.rotate_blocks(x, r, false, order, y);
              k.rotate_blocks(z, r, true, order, z);
              k.add_block_products(x, d, order, dr);
              return {y, z, dr};
            },
            5e-6);
      }
}

TEST_P(CpuBackendTest, TransposedLastAxes) {
  for (auto [m, n] : {std::pair<int64_t, int64_t>{7, 33}, {28, 32}, {19, 9}, {1, 5}}) {
    Tensor x = act({9, m, n});
    check([&, m = m, n = n](Backend& k) -> Outputs {
      Tensor y = out({9, n, m});
      k.transpose_last(x, y);
      return {y};
    });
  }
}

TEST_P(CpuBackendTest, Activations) {
  for (Activation kind : {Activation::kRelu, Activation::kTanh, Activation::kSigmoid, Activation::kSilu,
                          Activation::kGelu, Activation::kGeluTanh}) {
    Tensor x = act({41, 500}, 2.0), d = act({41, 500});
    check([&](Backend& k) -> Outputs {
      Tensor y = out({41, 500}), dx = out({41, 500});
      k.activate(kind, x, y);
      k.activate_backward(kind, d, x, dx);
      return {y, dx};
    });
  }
}

INSTANTIATE_TEST_SUITE_P(Types, CpuBackendTest, ::testing::Values(DType::kF32, DType::kBF16, DType::kF16),
                         [](const auto& info) { return std::string(dtype_name(info.param)); });

TEST(CpuBackend, AdamW) {
  RandomStream stream({1, RandomUse::kSynthetic, 0, 0});
  auto random = [&] {
    Tensor t = Tensor::empty({20001}, DType::kF32);
    for (float& v : t.span<float>()) v = static_cast<float>(stream.normal());
    return t;
  };
  Tensor p = random(), g = random(), m = Tensor::zeros({20001}, DType::kF32),
         v = Tensor::zeros({20001}, DType::kF32);
  Tensor p2 = p.clone(), m2 = m.clone(), v2 = v.clone();
  for (int64_t step = 1; step <= 3; ++step) {
    AdamWArgs args{.learning_rate = 0.01f,
                   .beta1 = 0.9f,
                   .beta2 = 0.999f,
                   .epsilon = 1e-8f,
                   .weight_decay = 0.1f,
                   .step = step,
                   .grad_scale = 0.5f};
    cpu_backend().adamw(p, g, m, v, args);
    reference_backend().adamw(p2, g, m2, v2, args);
  }
  for (int64_t i = 0; i < p.numel(); ++i) ASSERT_NEAR(p.data<float>()[i], p2.data<float>()[i], 2e-6) << i;
}

// Every bit as the software conversions of tensor/dtype.h: all 16-bit patterns, and f32 patterns of every
// exponent with ties, NaN payloads and subnormals among them.
TEST(CpuBackend, ConvertsBitForBit) {
  std::vector<float> values;
  for (uint32_t high = 0; high < 0x10000; ++high)
    for (uint32_t low : {0x0000u, 0x0001u, 0x0FFFu, 0x1000u, 0x1001u, 0x7FFFu, 0x8000u, 0x8001u, 0xFFFFu})
      values.push_back(std::bit_cast<float>(high << 16 | low));
  const Tensor x = Tensor::from(values, {static_cast<int64_t>(values.size())});
  auto check = [&]<typename T>(T) {
    Tensor rounded = Tensor::empty(x.shape(), dtype_of<T>()), all = Tensor::empty({0x10000}, dtype_of<T>()),
           wide = Tensor::empty({0x10000}, DType::kF32);
    cpu_backend().convert(x, rounded);
    auto is_nan = [](T value) { return std::isnan(static_cast<float>(value)); };
    for (size_t i = 0; i < values.size(); ++i) {
      const T got = rounded.data<T>()[i], want(values[i]);
      ASSERT_TRUE(got.bits == want.bits || (is_nan(got) && is_nan(want)))
          << std::hex << std::bit_cast<uint32_t>(values[i]);
    }
    for (uint32_t i = 0; i < 0x10000; ++i) all.data<T>()[i].bits = static_cast<uint16_t>(i);
    cpu_backend().convert(all, wide);
    for (uint32_t i = 0; i < 0x10000; ++i) {
      const float got = wide.data<float>()[i], want = static_cast<float>(all.data<T>()[i]);
      ASSERT_TRUE(std::bit_cast<uint32_t>(got) == std::bit_cast<uint32_t>(want) ||
                  (std::isnan(got) && std::isnan(want)))
          << std::hex << i;
    }
  };
  check(bf16());
  check(f16());
}

// Element by element: word i % 4 of block i / 4, whatever the vectors and chunks.
TEST(CpuBackend, DropsWhatTheWordsOfTheKeySay) {
  const RandomKey key{987654321987654321ull, RandomUse::kDropout, 4000000000u, 7000000000ull};
  for (DType dtype : {DType::kF32, DType::kBF16})
    for (int64_t n : {1, 7, 31, 33, 250, 40001})
      for (float p : {0.0f, 0.1f, 0.9f}) {
        Tensor x = Tensor::empty({n}, DType::kF32), y = Tensor::empty({n}, dtype);
        for (float& value : x.span<float>()) value = 1.0f;
        cpu_backend().dropout(x.to(dtype), p, key, y);
        Tensor got = y.to(DType::kF32), kept = Tensor::empty({1}, DType::kF32);
        kept.data<float>()[0] = 1.0f / (1.0f - p);
        const float scaled = kept.to(dtype).to(DType::kF32).data<float>()[0];
        for (int64_t i = 0; i < n; ++i) {
          const uint32_t word = key.block(static_cast<uint64_t>(i / 4))[static_cast<size_t>(i % 4)];
          ASSERT_EQ(got.data<float>()[i], uniform_from_bits(word) >= p ? scaled : 0.0f) << i;
        }
      }
}

// Within 1e-6, relative or absolute, of f64 over the whole range of each function; and where a function is
// small, as small.
TEST(CpuBackend, ActivationsAreAccurate) {
  constexpr int64_t kPoints = 40001;
  Tensor x = Tensor::empty({kPoints}, DType::kF32), ones = x.clone(), y = x.clone(), dx = x.clone();
  for (int64_t i = 0; i < kPoints; ++i) {
    x.data<float>()[i] = static_cast<float>(i - kPoints / 2) * 5e-4f;
    ones.data<float>()[i] = 1.0f;
  }
  Tensor exact_x = x.to(DType::kF64), exact_y = exact_x.clone(), exact_dx = exact_x.clone();
  for (Activation kind : {Activation::kRelu, Activation::kTanh, Activation::kSigmoid, Activation::kSilu,
                          Activation::kGelu, Activation::kGeluTanh}) {
    cpu_backend().activate(kind, x, y);
    cpu_backend().activate_backward(kind, ones, x, dx);
    reference_backend().activate(kind, exact_x, exact_y);
    reference_backend().activate_backward(kind, ones.to(DType::kF64), exact_x, exact_dx);
    for (int64_t i = 0; i < kPoints; ++i) {
      auto near = [&](const Tensor& got, const Tensor& want) {
        const double w = want.data<double>()[i];
        return std::abs(got.data<float>()[i] - w) <= 1e-6 * std::max(1.0, std::abs(w));
      };
      ASSERT_TRUE(near(y, exact_y) && near(dx, exact_dx))
          << "activation " << static_cast<int>(kind) << " of " << x.data<float>()[i] << ": "
          << y.data<float>()[i] << " and " << dx.data<float>()[i] << ", expected "
          << exact_y.data<double>()[i] << " and " << exact_dx.data<double>()[i];
    }
  }
  for (float value : {-INFINITY, INFINITY, NAN}) {
    Tensor edge = Tensor::empty({1}, DType::kF32), out = edge.clone();
    edge.data<float>()[0] = value;
    cpu_backend().activate(Activation::kTanh, edge, out);
    const float got = out.data<float>()[0];
    EXPECT_TRUE(std::isnan(value) ? std::isnan(got) : got == std::copysign(1.0f, value)) << value;
    cpu_backend().activate(Activation::kSigmoid, edge, out);
    const float half = out.data<float>()[0];
    EXPECT_TRUE(std::isnan(value) ? std::isnan(half) : std::abs(half - (value > 0 ? 1.0f : 0.0f)) < 1e-30f);
    cpu_backend().activate(Activation::kGelu, edge, out);
    EXPECT_TRUE(!std::isnan(value) || std::isnan(out.data<float>()[0]));
  }
}

TEST(CpuBackend, FindsWhatIsNotFinite) {
  for (DType dtype : {DType::kF32, DType::kBF16, DType::kF16}) {
    auto finite = [&](const Tensor& x) { return cpu_backend().all_finite(x.to(dtype)); };
    Tensor x = Tensor::zeros({50000}, DType::kF32);
    float* values = x.data<float>();
    EXPECT_TRUE(finite(x));
    values[49999] = dtype == DType::kF16 ? -65504.0f : -3e38f;
    EXPECT_TRUE(finite(x)) << dtype_name(dtype);
    for (int64_t place : {0, 15, 31000, 49983, 49984, 49999})
      for (float bad : {INFINITY, -INFINITY, NAN, -NAN}) {
        const float old = std::exchange(values[place], bad);
        EXPECT_FALSE(finite(x)) << dtype_name(dtype) << " " << bad << " at " << place;
        values[place] = old;
      }
    EXPECT_TRUE(finite(x)) << dtype_name(dtype);
  }
}

}  // namespace
}  // namespace fettle
