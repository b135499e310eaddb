// First values of LoRA that come from data (EVA, CorDA, LoRA-GA) and from a quantised base (LoftQ), against
// PEFT; replicated layers. Fixtures: tools/golden/make_lora_inits.py.
#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>
#include <numeric>

#include "fettle/base/error.h"
#include "fettle/formats/safetensors.h"
#include "fettle/models/loader.h"
#include "fettle/peft/adapter.h"
#include "fettle/peft/dense_weight.h"
#include "fettle/peft/lora_calibration.h"
#include "peft/model_checks.h"
#include "support.h"

namespace fettle {
namespace {

namespace fs = std::filesystem;
using test::expect_near;
using test::logits;

std::unique_ptr<CausalLM> load(const fs::path& folder) {
  std::vector<std::string> notes;
  return load_model(folder, {.compute = DType::kF32, .trainable_base = false, .progress = {}}, notes);
}

// The rows of a fixture, one a batch.
class Rows {
 public:
  explicit Rows(const fs::path& model) : json_(read_json(model / "golden.json")["rows"]) {}
  Calibration calibration() const {
    return {.rows = static_cast<int64_t>(json_.size()),
            .batch_size = 1,
            .compute = DType::kF32,
            .batch = [this](int64_t first, int64_t) { return batch(static_cast<size_t>(first)); },
            .progress = {}};
  }
  std::vector<int32_t> ids(size_t row) const { return json_[row]["input_ids"]; }

 private:
  CalibrationBatch batch(size_t row) const {
    std::vector<int32_t> own = json_[row]["labels"];
    CalibrationBatch batch{.input = make_input({ids(row)}), .labels = {}, .token_learns = {}};
    for (size_t t = 0; t < own.size(); ++t) {
      batch.token_learns.push_back(own[t] != -100);
      batch.labels.push_back(t + 1 < own.size() ? own[t + 1] : -100);
    }
    return batch;
  }
  Json json_;
};

AdapterConfig lora_config(Json keys) {
  keys["peft_type"] = "LORA";
  return AdapterConfig::parse(OrderedJson::parse(keys.dump()), "test");
}

// Singular vectors are known up to their sign: `by_row` compares row by row, else column by column.
void expect_near_up_to_sign(const Tensor& got, const Tensor& want, bool by_row, double tolerance,
                            const std::string& what) {
  ASSERT_EQ(got.shape(), want.shape()) << what;
  const int64_t rows = got.dim(0), cols = got.dim(1), lines = by_row ? rows : cols,
                length = by_row ? cols : rows;
  for (int64_t i = 0; i < lines; ++i) {
    auto at = [&](const Tensor& t, int64_t k) {
      return t.data<float>()[by_row ? i * cols + k : k * cols + i];
    };
    double plus = 0, minus = 0, size = 1e-9;
    for (int64_t k = 0; k < length; ++k) {
      plus = std::max(plus, static_cast<double>(std::abs(at(got, k) - at(want, k))));
      minus = std::max(minus, static_cast<double>(std::abs(at(got, k) + at(want, k))));
      size = std::max(size, static_cast<double>(std::abs(at(want, k))));
    }
    EXPECT_LT(std::min(plus, minus) / size, tolerance) << what << (by_row ? " row " : " column ") << i;
  }
}

class LoraInit : public ::testing::TestWithParam<std::string> {};

std::vector<std::string> cases() {
  std::vector<std::string> all;
  for (const auto& folder : fs::directory_iterator(test::golden_dir() / "lora_inits"))
    all.push_back(folder.path().filename().string());
  std::sort(all.begin(), all.end());
  return all;
}

TEST_P(LoraInit, IsPefts) {
  fs::path folder = test::golden_dir() / "lora_inits" / GetParam();
  fs::path base = test::golden_dir() / "models" / GetParam().substr(0, GetParam().find('-'));
  Json golden = read_json(folder / "golden.json");
  SafetensorsFile reference(folder / "golden.safetensors");
  const std::string init = golden["config"]["init_lora_weights"];
  auto model = load(base), untouched = load(base);
  Rows rows(base);
  Calibration calibration = rows.calibration();
  auto adapter = Adapter::create(*model, lora_config(golden["config"]), 1, &calibration);
  size_t seen = 0;
  // The inverse of a covariance loses digits; weight_svd's largest singular value comes from a random start.
  const double tolerance = GetParam().ends_with("svd") ? 2e-2 : init == "corda" ? 1e-2 : 2e-3;
  for (Parameter* parameter : adapter->parameters()) {
    const bool is_a = parameter->name.ends_with(".lora_A.weight");
    const std::string path =
        parameter->name.substr(0, parameter->name.size() - std::strlen(".lora_A.weight"));
    ASSERT_TRUE(golden["ranks"].contains(path)) << path << " has no rank in PEFT";
    EXPECT_EQ(parameter->shape[is_a ? 0 : 1], golden["ranks"][path].get<int64_t>()) << path;
    Tensor want = reference.tensor((is_a ? "a." : "b.") + path);
    if (init == "eva")
      expect_near(parameter->value, want, tolerance, parameter->name);
    else
      expect_near_up_to_sign(parameter->value, want, is_a, tolerance, parameter->name);
    ++seen;
  }
  EXPECT_EQ(seen, 2 * golden["ranks"].size());
  for (Linear* linear : model->linears())
    if (reference.tensors().contains("base." + linear->path))
      expect_near(dense_weight(*linear), reference.tensor("base." + linear->path), 1e-6, linear->path);
  if (init == "loftq") return;
  // At the start nothing has changed: what went into B A was taken out of the base.
  expect_near(logits(*model, rows.ids(0)), logits(*untouched, rows.ids(0)), 1e-4, "logits at the start");
  // As it is saved it belongs to the unchanged base.
  for (Parameter* parameter : adapter->parameters())
    for (float& value : parameter->value.span<float>()) value *= 1.25f;
  Tensor trained = logits(*model, rows.ids(0));
  test::TempDir saved;
  adapter->save(saved.path());
  adapter.reset();
  auto loaded = Adapter::load(*untouched, saved.path());
  expect_near(logits(*untouched, rows.ids(0)), trained, 1e-4, "saved and loaded");
}

INSTANTIATE_TEST_SUITE_P(Golden, LoraInit, ::testing::ValuesIn(cases()), [](const auto& info) {
  std::string name = info.param;
  std::replace(name.begin(), name.end(), '-', '_');
  return name;
});

TEST(LoraInits, WhatDoesNotFitIsRefused) {
  fs::path base = test::golden_dir() / "models" / "llama";
  auto model = load(base);
  Rows rows(base);
  Calibration calibration = rows.calibration();
  auto refused = [&](Json keys, const std::string& text, bool data = true) {
    keys["target_modules"] = {"q_proj"};
    try {
      Adapter::create(*model, lora_config(keys), 1, data ? &calibration : nullptr);
      ADD_FAILURE() << keys.dump() << " was taken";
    } catch (const Error& error) {
      EXPECT_NE(std::string(error.what()).find(text), std::string::npos)
          << keys.dump() << ": " << error.what();
    }
    EXPECT_TRUE(model->find_linear("model.layers.0.self_attn.q_proj")->methods.empty());
  };
  refused({{"init_lora_weights", "eva"}}, "needs training data", false);
  refused({{"init_lora_weights", "corda"}, {"corda_config", {{"corda_method", "both"}}}}, "ipm or kpm");
  refused({{"init_lora_weights", "lora_ga"}, {"lora_ga_config", {{"direction", "up"}}}}, "ArB2r");
  refused({{"init_lora_weights", "lora_ga"}, {"r", 20}}, "twice the rank");
  refused({{"init_lora_weights", "corda"}, {"r", 40}}, "rank 40 is larger");
  refused({{"init_lora_weights", "eva"}, {"eva_config", {{"rho", 0.5}}}}, "rho");
  refused({{"init_lora_weights", "loftq"}, {"loftq_config", {{"loftq_bits", 5}}}}, "loftq_bits");
  refused({{"layer_replication", {{0, 5}}}}, "layers 0 to 1");
  refused({{"layer_replication", {{1, 1}}}}, "layers 0 to 1");
  refused({{"layer_replication", "all"}}, "pairs of layers");
}

// Unmounting puts the layers back, to the bit; replicated layers share their weights.
TEST(LayerReplication, IsTakenBack) {
  auto model = load(test::golden_dir() / "models" / "qwen2");
  const size_t parameters = model->parameters().size(), linears = model->linears().size();
  const std::vector<int32_t> row = {3, 17, 80, 5};
  Tensor before = logits(*model, row);
  {
    auto adapter = Adapter::create(
        *model, lora_config({{"layer_replication", {{0, 2}, {0, 2}}}, {"target_modules", {"q_proj"}}}), 1);
    EXPECT_EQ(model->config().num_hidden_layers, 4);
    EXPECT_EQ(model->parameters().size(), parameters);
    EXPECT_EQ(model->linears().size(), 2 * (linears - 1) + 1);
    EXPECT_NE(model->find_linear("model.layers.3.self_attn.q_proj"), nullptr);
    EXPECT_FALSE(adapter->why_not_mergeable().empty());
  }
  EXPECT_EQ(model->config().num_hidden_layers, 2);
  Tensor after = logits(*model, row);
  EXPECT_EQ(std::memcmp(before.raw(), after.raw(), before.nbytes()), 0);
}

}  // namespace
}  // namespace fettle
