// Every differentiable op, forward and backward in f32, against PyTorch. Fixtures: tools/golden/make_ops.py.
#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "fettle/autograd/ops.h"
#include "fettle/base/json.h"
#include "fettle/formats/safetensors.h"
#include "fettle/nn/rotary.h"
#include "support.h"

namespace fettle {
namespace {

class Fixture {
 public:
  explicit Fixture(const std::string& name)
      : file_(test::golden_dir() / "ops" / (name + ".safetensors")),
        json(read_json(test::golden_dir() / "ops" / (name + ".json"))) {}
  void select(const std::string& name) { case_ = name; }
  bool has(const std::string& name) const { return file_.tensors().contains(case_ + "." + name); }
  Tensor tensor(const std::string& name) const { return file_.tensor(case_ + "." + name); }
  std::vector<int32_t> ints(const std::string& name) const {
    Tensor t = tensor(name);
    return {t.span<int32_t>().begin(), t.span<int32_t>().end()};
  }
  Parameter parameter(const std::string& name) const {
    Tensor value = tensor(name);
    Parameter p(name, value.shape());
    p.value = value;
    p.trainable = true;
    return p;
  }
  void expect(const Tensor& got, const std::string& name, double tolerance = 2e-5) const {
    Tensor want = tensor(name).to(DType::kF32);
    ASSERT_TRUE(got.defined()) << case_ << "." << name;
    Tensor have = got.to(DType::kF32);
    ASSERT_EQ(have.numel(), want.numel()) << case_ << "." << name;
    double size = 1e-2;
    for (float v : want.span<float>()) size = std::max(size, static_cast<double>(std::abs(v)));
    for (int64_t i = 0; i < want.numel(); ++i)
      ASSERT_NEAR(have.data<float>()[i], want.data<float>()[i], tolerance * size)
          << case_ << "." << name << " element " << i;
  }

 private:
  SafetensorsFile file_;
  std::string case_;

 public:
  Json json;
};

class OpFixtures : public ::testing::Test {
 protected:
  Context recording() { return {.backend = &cpu_backend(), .tape = &tape_, .compute = DType::kF32}; }
  void backward(const Var& out, const Tensor& dout) {
    out.slot->accumulate(cpu_backend(), dout);
    tape_.backward();
  }
  static Tensor gradient(const Var& v) { return v.slot->take(v.value.shape()); }
  Tape tape_;
};

TEST_F(OpFixtures, RmsNorm) {
  Fixture f("rms_norm");
  for (const auto& [name, c] : f.json["cases"].items()) {
    f.select(name);
    Parameter w = f.parameter("weight");
    Context context = recording();
    context.compute = w.value.dtype();
    Var x(f.tensor("x"), true);
    Var y = rms_norm(context, x, w, c["eps"]);
    f.expect(y.value, "out", w.value.dtype() == DType::kBF16 ? 1e-2 : 2e-6);
    if (!f.has("dout")) {
      tape_ = Tape();
      continue;
    }
    backward(y, f.tensor("dout"));
    f.expect(gradient(x), "dx");
    f.expect(w.gradient, "dweight");
  }
}

TEST_F(OpFixtures, LayerNorm) {
  Fixture f("layer_norm");
  for (const auto& [name, c] : f.json["cases"].items()) {
    f.select(name);
    Parameter w = f.parameter("weight"), b("bias", {1});
    if (f.has("bias")) b = f.parameter("bias");
    Context context = recording();
    Var x(f.tensor("x"), true);
    Var y = layer_norm(context, x, w, f.has("bias") ? &b : nullptr, c["eps"]);
    f.expect(y.value, "out", 1e-5);
    backward(y, f.tensor("dout"));
    f.expect(gradient(x), "dx");
    f.expect(w.gradient, "dweight");
    if (f.has("dbias")) f.expect(b.gradient, "dbias");
  }
}

TEST_F(OpFixtures, LinearWithLora) {
  Fixture f("linear_lora");
  for (const auto& [name, c] : f.json["cases"].items()) {
    f.select(name);
    Parameter w = f.parameter("weight"), a = f.parameter("lora_A"), b = f.parameter("lora_B"),
              bias("bias", {1});
    if (f.has("bias")) bias = f.parameter("bias");
    Context context = recording();
    Var x(f.tensor("x"), true);
    Var y = linear(context, x, w, f.has("bias") ? &bias : nullptr, false,
                   {{.a = &a, .b = &b, .scale = c["scale"].get<float>()}});
    f.expect(y.value, "out");
    backward(y, f.tensor("dout"));
    f.expect(gradient(x), "dx");
    f.expect(w.gradient, "dweight");
    f.expect(a.gradient, "dlora_A");
    f.expect(b.gradient, "dlora_B");
    if (f.has("dbias")) f.expect(bias.gradient, "dbias");
  }
}

TEST_F(OpFixtures, Attention) {
  Fixture f("attention");
  for (const auto& [name, c] : f.json["cases"].items()) {
    f.select(name);
    auto packing = std::make_shared<Packing>();
    packing->cu_seqlens = f.ints("cu_q");
    packing->cu_keys = f.ints("cu_k");
    Context context = recording();
    Var q(f.tensor("q"), true), k(f.tensor("k"), true), v(f.tensor("v"), true);
    Var y = attention(context, q, k, v, packing,
                      {.scale = c["scale"].get<float>(), .causal = c["causal"], .window = c["window"]});
    f.expect(y.value, "out");
    backward(y, f.tensor("dout"));
    f.expect(gradient(q), "dq", 5e-5);
    f.expect(gradient(k), "dk", 5e-5);
    f.expect(gradient(v), "dv", 5e-5);
  }
}

TEST_F(OpFixtures, Rotary) {
  Fixture f("rotary");
  for (const auto& [name, c] : f.json["cases"].items()) {
    f.select(name);
    const Json& p = c["rope_parameters"];
    RotarySpec spec{.type = p["rope_type"],
                    .rotary_dim = c["head_dim"],
                    .theta = p["rope_theta"],
                    .max_position_embeddings = c["max_position_embeddings"],
                    .factor = p.value("factor", 1.0),
                    .original_max_position_embeddings = p.value("original_max_position_embeddings", 0),
                    .low_freq_factor = p.value("low_freq_factor", 1.0),
                    .high_freq_factor = p.value("high_freq_factor", 4.0),
                    .beta_fast = p.value("beta_fast", 32.0),
                    .beta_slow = p.value("beta_slow", 1.0),
                    .attention_factor = p.value("attention_factor", 0.0),
                    .mscale = p.value("mscale", 0.0),
                    .mscale_all_dim = p.value("mscale_all_dim", 0.0),
                    .truncate = p.value("truncate", true)};
    float factor = 0;
    int64_t length = c["sequence_length"].is_null() ? 1 : c["sequence_length"].get<int64_t>();
    std::vector<float> frequencies = rotary_inverse_frequencies(spec, length, factor);
    f.expect(Tensor::from(frequencies, {static_cast<int64_t>(frequencies.size())}), "inv_freq", 1e-6);
    EXPECT_NEAR(factor, c["attention_factor"].get<double>(), 1e-6) << name;

    auto packing = std::make_shared<Packing>();
    packing->positions = f.ints("positions");
    int64_t positions = length;
    for (int32_t position : packing->positions) positions = std::max<int64_t>(positions, position + 1);
    RotaryTable table = RotaryEmbedding(spec).table(positions);
    int64_t half = table.cos.cols();
    Tensor cos = Tensor::empty({static_cast<int64_t>(packing->positions.size()), half}, DType::kF32),
           sin = cos.clone();
    cpu_backend().gather_rows(table.cos, packing->positions, cos);
    cpu_backend().gather_rows(table.sin, packing->positions, sin);
    f.expect(cos, "cos", 2e-4);  // f32 angles at far positions carry an error of about position * 2^-24
    f.expect(sin, "sin", 2e-4);
    if (!f.has("x")) continue;
    Context context = recording();
    Var x(f.tensor("x"), true);
    Var y = rotary(context, x, packing, table);
    f.expect(y.value, "out", 2e-4);
    backward(y, f.tensor("dout"));
    f.expect(gradient(x), "dx", 2e-4);
  }
}

TEST_F(OpFixtures, Swiglu) {
  Fixture f("swiglu");
  for (const auto& [name, c] : f.json["cases"].items()) {
    f.select(name);
    Context context = recording();
    Var gate(f.tensor("gate"), true), up(f.tensor("up"), true);
    Var y = swiglu(context, gate, up);
    f.expect(y.value, "out", 2e-6);
    backward(y, f.tensor("dout"));
    f.expect(gradient(gate), "dgate");
    f.expect(gradient(up), "dup");
  }
}

TEST_F(OpFixtures, Embedding) {
  Fixture f("embedding");
  f.select("repeated");
  Parameter table = f.parameter("table");
  Context context = recording();
  Var y = embedding(context, std::make_shared<std::vector<int32_t>>(f.ints("ids")), table);
  f.expect(y.value, "out", 0);
  backward(y, f.tensor("dout"));
  f.expect(table.gradient, "dtable");
}

TEST_F(OpFixtures, CrossEntropy) {
  Fixture f("cross_entropy");
  for (const auto& [name, c] : f.json["cases"].items()) {
    f.select(name);
    Parameter w = f.parameter("weight");
    Context context = recording();
    Var hidden(f.tensor("hidden"), true);
    auto head = [&](Context& inner, const Var& h) { return linear(inner, h, w, nullptr); };
    double items = c["num_items"].get<double>();
    double sum = linear_cross_entropy(context, hidden, head, w.shape[0], f.ints("labels"),
                                      static_cast<float>(1.0 / items), true);
    EXPECT_NEAR(sum / items, c["loss"].get<double>(), 1e-5 * std::max(1.0, c["loss"].get<double>())) << name;
    tape_.backward();
    if (hidden.slot->defined()) f.expect(gradient(hidden), "dhidden");
    if (w.gradient.defined()) f.expect(w.gradient, "dweight");
  }
}

TEST_F(OpFixtures, AdamW) {
  Fixture f("adamw");
  for (const auto& [name, c] : f.json["cases"].items()) {
    f.select(name);
    Tensor p = f.tensor("parameter.0").clone(), m = Tensor::zeros(p.shape(), DType::kF32),
           v = Tensor::zeros(p.shape(), DType::kF32);
    int64_t steps = static_cast<int64_t>(c["learning_rates"].size());
    for (int64_t step = 1; step <= steps; ++step) {
      size_t i = static_cast<size_t>(step - 1);
      double most = c["max_grad_norm"], norm = c["grad_norms"][i];
      double clip = most > 0 ? std::min(1.0, most / (norm + 1e-6)) : 1.0;
      cpu_backend().adamw(p, f.tensor("gradient." + std::to_string(step)), m, v,
                          {.learning_rate = c["learning_rates"][i],
                           .beta1 = c["beta1"],
                           .beta2 = c["beta2"],
                           .epsilon = c["epsilon"],
                           .weight_decay = c["weight_decay"],
                           .step = step,
                           .grad_scale = static_cast<float>(clip)});
      f.expect(p, "parameter." + std::to_string(step), 5e-6);
      f.expect(m, "m." + std::to_string(step), 5e-6);
    }
  }
}

}  // namespace
}  // namespace fettle
