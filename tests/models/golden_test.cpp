// Tiny random models of each architecture against Transformers and PEFT: logits, losses, every gradient,
// adapters, greedy decoding. Fixtures: tools/golden/make_models.py.
#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "fettle/autograd/ops.h"
#include "fettle/base/json.h"
#include "fettle/formats/safetensors.h"
#include "fettle/models/loader.h"
#include "support.h"

namespace fettle {
namespace {

struct Batch {
  ModelInput input;
  std::vector<int32_t> labels;  // shifted
  int64_t count = 0;
};

Batch make_batch(const Json& golden, int64_t only = -1) {
  std::vector<std::vector<int32_t>> rows;
  Batch batch;
  int64_t index = 0;
  for (const Json& row : golden["rows"]) {
    if (only >= 0 && index++ != only) continue;
    rows.push_back(row["input_ids"]);
    std::vector<int32_t> labels = row["labels"];
    for (size_t t = 0; t < labels.size(); ++t) {
      batch.labels.push_back(t + 1 < labels.size() ? labels[t + 1] : -100);
      batch.count += batch.labels.back() >= 0;
    }
  }
  batch.input = make_input(rows);
  return batch;
}

double largest_difference(const Tensor& a, const Tensor& b) {
  EXPECT_EQ(a.numel(), b.numel());
  Tensor x = a.to(DType::kF32), y = b.to(DType::kF32);
  double most = 0;
  for (int64_t i = 0; i < x.numel(); ++i)
    most = std::max(most, static_cast<double>(std::abs(x.data<float>()[i] - y.data<float>()[i])));
  return most;
}
double largest(const Tensor& a) {
  return largest_difference(a, Tensor::zeros(a.shape(), DType::kF32));
}

class GoldenModel : public ::testing::TestWithParam<std::string> {
 protected:
  std::filesystem::path folder() const { return test::golden_dir() / "models" / GetParam(); }
  Json golden() const { return read_json(folder() / "golden.json"); }
  std::unique_ptr<CausalLM> load(DType compute, bool trainable = false) {
    std::vector<std::string> notes;
    auto model =
        load_model(folder(), {.compute = compute, .trainable_base = trainable, .progress = {}}, notes);
    EXPECT_TRUE(notes.empty()) << notes[0];
    return model;
  }
  void compare_logits(CausalLM& model, DType compute, const std::string& prefix, double tolerance,
                      bool relative) {
    SafetensorsFile reference(folder() / "golden.safetensors");
    Json json = golden();
    for (size_t i = 0; i < json["rows"].size(); ++i) {
      Batch batch = make_batch(json, static_cast<int64_t>(i));
      Context context{.backend = &cpu_backend(), .compute = compute};
      Tensor logits = model.logits(context, model.hidden_states(context, batch.input)).value;
      Tensor want = reference.tensor(prefix + std::to_string(i));
      EXPECT_LE(largest_difference(logits, want), tolerance * (relative ? largest(want) : 1.0))
          << prefix << i;
    }
  }
};

TEST_P(GoldenModel, LogitsInF32) {
  auto model = load(DType::kF32);
  compare_logits(*model, DType::kF32, "logits.", 1e-4, true);
}

TEST_P(GoldenModel, LogitsInBf16AreWithinTorchsOwnSpread) {
  auto model = load(DType::kBF16);
  // Two bf16 computations with different rounding each stray from f32 by about the spread.
  compare_logits(*model, DType::kBF16, "logits.", 1.25 * golden()["bf16_spread"]["logits_max"].get<double>(),
                 false);
}

TEST_P(GoldenModel, LogitsInF16AreEightTimesCloser) {
  auto model = load(DType::kF16);
  // float16 has three more bits than bfloat16; half of the spread in hand for other roundings.
  compare_logits(*model, DType::kF16, "logits.",
                 1.5 / 8 * golden()["bf16_spread"]["logits_max"].get<double>(), false);
}

TEST_P(GoldenModel, PackedLossAndEveryGradient) {
  auto model = load(DType::kF32, true);
  SafetensorsFile reference(folder() / "golden.safetensors");
  Json json = golden();
  if (!reference.tensors().contains("grad." + model->parameters()[0]->name))
    return;  // fixtures of file forms and tables hold logits only
  Batch batch = make_batch(json);
  for (bool checkpointing : {false, true}) {
    for (Parameter* parameter : model->parameters()) {
      parameter->trainable = true;
      parameter->gradient = Tensor();
    }
    batch.input.gradient_checkpointing = checkpointing;
    Tape tape;
    Context context{.backend = &cpu_backend(), .tape = &tape, .compute = DType::kF32, .training = true};
    Var hidden = model->hidden_states(context, batch.input);
    auto head = [&](Context& c, const Var& h) { return model->logits(c, h); };
    double loss = linear_cross_entropy(context, hidden, head, model->config().vocab_size, batch.labels,
                                       1.0f / static_cast<float>(batch.count), true) /
                  static_cast<double>(batch.count);
    EXPECT_NEAR(loss, json["loss"].get<double>(), 1e-5);
    hidden = Var();
    tape.backward();
    int64_t compared = 0;
    for (Parameter* parameter : model->parameters()) {
      Tensor want = reference.tensor("grad." + parameter->name);
      ASSERT_TRUE(parameter->gradient.defined()) << parameter->name;
      EXPECT_LE(largest_difference(parameter->gradient, want), 1e-4 * std::max(largest(want), 1e-3))
          << parameter->name;
      ++compared;
    }
    EXPECT_GT(compared, 15);
  }
}

INSTANTIATE_TEST_SUITE_P(Models, GoldenModel,
                         ::testing::Values("llama", "llama-linear", "llama-dynamic", "llama-yarn",
                                           "llama-bin", "llama-bf16", "qwen2", "qwen2-sharded", "qwen3",
                                           "mistral", "gpt2"),
                         [](const auto& info) {
                           std::string name = info.param;
                           std::replace(name.begin(), name.end(), '-', '_');
                           return name;
                         });

}  // namespace
}  // namespace fettle
