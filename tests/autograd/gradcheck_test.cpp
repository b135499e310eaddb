// Every differentiable op against central differences, in f64 on the reference backend.
#include <gtest/gtest.h>

#include <cmath>
#include <deque>

#include "fettle/autograd/ops.h"
#include "fettle/base/random.h"

namespace fettle {
namespace {

class GradCheck : public ::testing::Test {
 protected:
  Context context(Tape* tape) {
    return {.backend = &reference_backend(),
            .tape = tape,
            .compute = DType::kF64,
            .training = true,
            .seed = 7,
            .step = 3};
  }
  Tensor random(Shape shape, double scale = 1.0) {
    Tensor t = Tensor::empty(std::move(shape), DType::kF64);
    for (double& v : t.span<double>()) v = scale * stream_.normal();
    return t;
  }
  Parameter& parameter(const std::string& name, Shape shape, double scale = 1.0) {
    Parameter& p = parameters_.emplace_back(name, shape);
    p.value = random(shape, scale);
    p.trainable = true;
    return p;
  }
  static PackingRef packing(std::vector<int32_t> lengths) {
    auto p = std::make_shared<Packing>();
    p->cu_seqlens = {0};
    for (int32_t n : lengths) {
      for (int32_t i = 0; i < n; ++i) p->positions.push_back(i);
      p->cu_seqlens.push_back(p->cu_seqlens.back() + n);
    }
    p->cu_keys = p->cu_seqlens;
    return p;
  }

  using Function = std::function<Var(Context&, const std::vector<Var>&)>;

  // Loss = sum of outputs times fixed random weights; its gradients into every input and parameter must equal
  // central differences to 1e-6 relative.
  void check(const std::vector<Tensor>& inputs, const Function& function) {
    Context plain = context(nullptr);
    std::vector<Var> constants;
    for (const Tensor& input : inputs) constants.emplace_back(input);
    Tensor weights = random(function(plain, constants).value.shape());
    auto loss = [&] {
      Tensor out = function(plain, constants).value;
      double sum = 0;
      for (int64_t i = 0; i < out.numel(); ++i) sum += out.data<double>()[i] * weights.data<double>()[i];
      return sum;
    };
    Tape tape;
    Context recording = context(&tape);
    std::vector<Var> leaves;
    for (const Tensor& input : inputs) leaves.emplace_back(input, true);
    Var out = function(recording, leaves);
    ASSERT_TRUE(out.requires_grad());
    out.slot->accumulate(reference_backend(), weights);
    tape.backward();
    for (size_t i = 0; i < inputs.size(); ++i) {
      ASSERT_TRUE(leaves[i].slot->defined()) << "input " << i;
      compare(inputs[i], leaves[i].slot->take(inputs[i].shape()), loss, "input " + std::to_string(i));
    }
    for (Parameter& p : parameters_) compare(p.value, p.gradient, loss, p.name);
  }

  void compare(Tensor value, const Tensor& gradient, const std::function<double()>& loss,
               const std::string& what) {
    ASSERT_TRUE(gradient.defined()) << what;
    ASSERT_EQ(gradient.numel(), value.numel()) << what;
    constexpr double kStep = 1e-5;
    double* x = value.data<double>();
    for (int64_t i = 0; i < value.numel(); ++i) {
      double saved = x[i];
      x[i] = saved + kStep;
      double above = loss();
      x[i] = saved - kStep;
      double below = loss();
      x[i] = saved;
      double numeric = (above - below) / (2 * kStep), analytic = gradient.data<double>()[i];
      ASSERT_NEAR(analytic, numeric, 1e-6 * std::max(1.0, std::abs(numeric))) << what << " element " << i;
    }
  }

  RandomStream stream_{{11, RandomUse::kSynthetic, 0, 0}};
  std::deque<Parameter> parameters_;
};

TEST_F(GradCheck, Linear) {
  Parameter &w = parameter("w", {4, 6}), &b = parameter("b", {4});
  check({random({5, 6})}, [&](Context& c, const std::vector<Var>& in) { return linear(c, in[0], w, &b); });
}

TEST_F(GradCheck, LinearConv1d) {
  Parameter &w = parameter("w", {6, 4}), &b = parameter("b", {4});
  check({random({5, 6})},
        [&](Context& c, const std::vector<Var>& in) { return linear(c, in[0], w, &b, true); });
}

TEST_F(GradCheck, LinearWithTwoLoraTermsAndDropout) {
  Parameter& w = parameter("w", {4, 6});
  std::vector<LoraTerm> terms = {
      {.a = &parameter("a", {2, 6}), .b = &parameter("b", {4, 2}), .scale = 1.5f, .dropout = 0.4f, .site = 1},
      {.a = &parameter("a2", {3, 6}),
       .b = &parameter("b2", {4, 3}),
       .scale = 0.5f,
       .dropout = 0.0f,
       .site = 2}};
  check({random({5, 6})},
        [&](Context& c, const std::vector<Var>& in) { return linear(c, in[0], w, nullptr, false, terms); });
}

TEST_F(GradCheck, AddOfOneValueTwice) {
  check({random({3, 4})},
        [&](Context& c, const std::vector<Var>& in) { return add(c, add(c, in[0], in[0]), in[0]); });
}

TEST_F(GradCheck, Dropout) {
  check({random({6, 7})}, [&](Context& c, const std::vector<Var>& in) { return dropout(c, in[0], 0.3f, 9); });
}

TEST_F(GradCheck, RmsNorm) {
  Parameter& w = parameter("w", {6});
  check({random({3, 6})},
        [&](Context& c, const std::vector<Var>& in) { return rms_norm(c, in[0], w, 1e-5f); });
}

TEST_F(GradCheck, RmsNormOverHeads) {
  Parameter& w = parameter("w", {4});
  check({random({3, 2, 4})},
        [&](Context& c, const std::vector<Var>& in) { return rms_norm(c, in[0], w, 1e-5f); });
}

TEST_F(GradCheck, AddRmsNormBothOutputs) {
  Parameter& w = parameter("w", {6});
  check({random({3, 6}), random({3, 6})}, [&](Context& c, const std::vector<Var>& in) {
    auto [sum, normed] = add_rms_norm(c, in[0], in[1], w, 1e-5f);
    return add(c, sum, normed);
  });
}

TEST_F(GradCheck, AddRmsNormNormOnly) {
  Parameter& w = parameter("w", {6});
  check({random({3, 6}), random({3, 6})}, [&](Context& c, const std::vector<Var>& in) {
    return add_rms_norm(c, in[0], in[1], w, 1e-5f).second;
  });
}

TEST_F(GradCheck, LayerNorm) {
  Parameter &w = parameter("w", {6}), &b = parameter("b", {6});
  check({random({3, 6})},
        [&](Context& c, const std::vector<Var>& in) { return layer_norm(c, in[0], w, &b, 1e-5f); });
}

TEST_F(GradCheck, Rotary) {
  RotaryTable table{Tensor::empty({8, 2}, DType::kF32), Tensor::empty({8, 2}, DType::kF32)};
  for (int p = 0; p < 8; ++p)
    for (int i = 0; i < 2; ++i) {
      table.cos.data<float>()[p * 2 + i] = std::cos(0.3f * static_cast<float>(p * (i + 1)));
      table.sin.data<float>()[p * 2 + i] = std::sin(0.3f * static_cast<float>(p * (i + 1)));
    }
  PackingRef p = packing({3, 2});
  check({random({5, 2, 4})},
        [&](Context& c, const std::vector<Var>& in) { return rotary(c, in[0], p, table); });
}

TEST_F(GradCheck, AttentionCausalGrouped) {
  PackingRef p = packing({4, 1, 3});
  check({random({8, 4, 4}), random({8, 2, 4}), random({8, 2, 4})},
        [&](Context& c, const std::vector<Var>& in) {
          return attention(c, in[0], in[1], in[2], p, {.scale = 0.5f});
        });
}

TEST_F(GradCheck, AttentionWindow) {
  PackingRef p = packing({6});
  check({random({6, 2, 4}), random({6, 2, 4}), random({6, 2, 4})},
        [&](Context& c, const std::vector<Var>& in) {
          return attention(c, in[0], in[1], in[2], p, {.scale = 0.5f, .window = 3});
        });
}

TEST_F(GradCheck, AttentionBidirectional) {
  PackingRef p = packing({3, 4});
  check({random({7, 2, 4}), random({7, 1, 4}), random({7, 1, 4})},
        [&](Context& c, const std::vector<Var>& in) {
          return attention(c, in[0], in[1], in[2], p, {.scale = 0.5f, .causal = false});
        });
}

TEST_F(GradCheck, Swiglu) {
  check({random({3, 5}), random({3, 5})},
        [&](Context& c, const std::vector<Var>& in) { return swiglu(c, in[0], in[1]); });
}

TEST_F(GradCheck, Embedding) {
  Parameter& table = parameter("table", {7, 3});
  auto ids = std::make_shared<std::vector<int32_t>>(std::vector<int32_t>{2, 6, 2, 0});
  check({}, [&](Context& c, const std::vector<Var>&) { return embedding(c, ids, table); });
}

TEST_F(GradCheck, Checkpoint) {
  Parameter &w = parameter("w", {6, 6}), &n = parameter("n", {6});
  check({random({4, 6}), random({4, 6})}, [&](Context& c, const std::vector<Var>& in) {
    auto body = [&](Context& inner, const std::vector<Var>& x) -> std::vector<Var> {
      auto [sum, normed] = add_rms_norm(inner, x[0], x[1], n, 1e-5f);
      return {sum, dropout(inner, linear(inner, normed, w, nullptr), 0.2f, 4)};
    };
    std::vector<Var> out = checkpoint(c, in, true, body);
    out = checkpoint(c, out, true, body);
    return add(c, out[0], out[1]);
  });
}

// The loss head is a sum by itself: its value and its gradients are checked together.
TEST_F(GradCheck, LinearCrossEntropy) {
  Parameter& w = parameter("w", {9, 5});
  Tensor x = random({6, 5});
  std::vector<int32_t> labels = {3, -100, 0, 8, -100, 3};
  auto head = [&](Context& c, const Var& h) { return linear(c, h, w, nullptr); };
  Context plain = context(nullptr);
  auto loss = [&] { return 0.25 * linear_cross_entropy(plain, Var(x), head, 9, labels, 0.25f, true); };
  Tape tape;
  Context recording = context(&tape);
  Var leaf(x, true);
  linear_cross_entropy(recording, leaf, head, 9, labels, 0.25f, true);
  tape.backward();
  compare(x, leaf.slot->take(x.shape()), loss, "hidden");
  compare(w.value, w.gradient, loss, "w");
}

TEST_F(GradCheck, NothingIsRecordedBelowTheLowestTrainableParameter) {
  Parameter &frozen = parameter("frozen", {4, 4}), &learns = parameter("learns", {4, 4});
  frozen.trainable = false;
  Tape tape;
  Context recording = context(&tape);
  Var x(random({2, 4}));
  Var hidden = linear(recording, x, frozen, nullptr);
  EXPECT_EQ(tape.size(), 0u);
  EXPECT_FALSE(hidden.requires_grad());
  Var out = linear(recording, hidden, learns, nullptr);
  EXPECT_EQ(tape.size(), 1u);
  out.slot->accumulate(reference_backend(), random({2, 4}));
  tape.backward();
  EXPECT_TRUE(learns.gradient.defined());
  EXPECT_FALSE(frozen.gradient.defined());
}

TEST_F(GradCheck, MatmulOfActivationAndParameter) {
  Parameter &a = parameter("a", {4, 6}), &b = parameter("b", {3, 4});
  check({random({5, 6})}, [&](Context& c, const std::vector<Var>& in) {
    Var product = matmul(c, leaf(c, b), leaf(c, a), false, 0.5f);  // [3, 6]
    return matmul(c, in[0], product, true);
  });
}

TEST_F(GradCheck, MultiplyAndScale) {
  Parameter& a = parameter("a", {5, 6});
  check({random({5, 6})}, [&](Context& c, const std::vector<Var>& in) {
    return scale(c, multiply(c, multiply(c, in[0], leaf(c, a)), in[0]), 0.3f);
  });
}

TEST_F(GradCheck, ScaleColumnsWithBias) {
  Parameter &s = parameter("s", {6, 1}), &b = parameter("b", {6});
  check({random({5, 6})},
        [&](Context& c, const std::vector<Var>& in) { return scale_columns(c, in[0], leaf(c, s), &b); });
}

TEST_F(GradCheck, AddRow) {
  Parameter& row = parameter("row", {6});
  check({random({5, 6})},
        [&](Context& c, const std::vector<Var>& in) { return add_row(c, in[0], row, 0.5f); });
}

TEST_F(GradCheck, RotateBlocksOwnAndShared) {
  Parameter &own = parameter("own", {3, 2, 2}), &shared = parameter("shared", {1, 3, 3});
  check({random({5, 6})}, [&](Context& c, const std::vector<Var>& in) {
    return rotate_blocks(c, rotate_blocks(c, in[0], leaf(c, own)), leaf(c, shared));
  });
}

TEST_F(GradCheck, RotateBlocksInAnotherOrder) {
  Parameter& blocks = parameter("blocks", {3, 2, 2});
  auto order = std::make_shared<const std::vector<int32_t>>(std::vector<int32_t>{4, 0, 2, 5, 1, 3});
  check({random({5, 6})}, [&](Context& c, const std::vector<Var>& in) {
    return rotate_blocks(c, in[0], leaf(c, blocks), order);
  });
}

TEST_F(GradCheck, TransposeLast) {
  Parameter& w = parameter("w", {4, 3});
  check({random({2, 12})}, [&](Context& c, const std::vector<Var>& in) {
    Var turned = transpose_last(c, reshape(in[0], {2, 3, 4}));  // [2, 4, 3]
    return matmul(c, turned, leaf(c, w), true);
  });
}

TEST_F(GradCheck, PrependAndSelect) {
  Parameter& prefix = parameter("prefix", {2, 4});
  check({random({5, 4})}, [&](Context& c, const std::vector<Var>& in) {
    Var longer = prepend_rows(c, leaf(c, prefix), in[0], {0, 3, 5});  // 9 rows
    Var rows = select_rows(c, longer, {0, 1, 2, 4, 7, 8, 5, 3, 6});
    return add(c, select_columns(c, rows, 0, 2), select_columns(c, rows, 1, 3));
  });
}

TEST_F(GradCheck, Activations) {
  for (Activation kind : {Activation::kRelu, Activation::kTanh, Activation::kSigmoid, Activation::kSilu,
                          Activation::kGelu, Activation::kGeluTanh})
    check({random({4, 7})}, [&](Context& c, const std::vector<Var>& in) { return activate(c, kind, in[0]); });
}

}  // namespace
}  // namespace fettle
