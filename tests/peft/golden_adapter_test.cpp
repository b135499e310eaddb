// LoRA adapters made by PEFT on tiny models: logits, gradients, merging, and files. Fixtures:
// tools/golden/make_models.py.
#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "fettle/base/error.h"
#include "fettle/formats/safetensors.h"
#include "fettle/models/loader.h"
#include "fettle/peft/lora.h"
#include "fettle/peft/merge.h"
#include "support.h"

namespace fettle {
namespace {

double largest_difference(const Tensor& a, const Tensor& b) {
  EXPECT_EQ(a.numel(), b.numel());
  double most = 0;
  for (int64_t i = 0; i < a.numel(); ++i)
    most = std::max(most, static_cast<double>(std::abs(a.data<float>()[i] - b.data<float>()[i])));
  return most;
}
double largest(const Tensor& a) {
  return largest_difference(a, Tensor::zeros(a.shape(), DType::kF32));
}

class GoldenAdapter : public ::testing::TestWithParam<const char*> {
 protected:
  std::filesystem::path folder() const { return test::golden_dir() / "models" / GetParam(); }
  static std::unique_ptr<CausalLM> load(const std::filesystem::path& folder) {
    std::vector<std::string> notes;
    return load_model(folder, {.compute = DType::kF32, .trainable_base = false, .progress = {}}, notes);
  }
  static Tensor logits(CausalLM& model, const std::vector<int32_t>& ids) {
    Context context{.backend = &cpu_backend(), .compute = DType::kF32};
    return model.logits(context, model.hidden_states(context, make_input({ids}))).value;
  }
  Json golden_ = Json();
  void SetUp() override { golden_ = read_json(folder() / "golden.json"); }
};

TEST_P(GoldenAdapter, LogitsEqualPeft) {
  auto model = load(folder());
  SafetensorsFile reference(folder() / "golden.safetensors");
  std::vector<int32_t> ids = golden_["rows"][0]["input_ids"];
  Tensor plain = logits(*model, ids);
  {
    auto adapter = Adapter::load(*model, folder() / "adapter");
    EXPECT_EQ(adapter->parameter_count(), golden_["adapter"]["trainable_parameters"].get<int64_t>());
    for (size_t i = 0; i < golden_["rows"].size(); ++i) {
      Tensor want = reference.tensor("adapter.logits." + std::to_string(i));
      EXPECT_LE(largest_difference(logits(*model, golden_["rows"][i]["input_ids"]), want),
                1e-4 * largest(want))
          << i;
    }
  }
  // Unmounting leaves the base as it was, to the bit.
  EXPECT_EQ(largest_difference(logits(*model, ids), plain), 0.0);
}

TEST_P(GoldenAdapter, GradientsEqualPeft) {
  auto model = load(folder());
  auto adapter = Adapter::load(*model, folder() / "adapter");
  adapter->set_trainable(true);
  SafetensorsFile reference(folder() / "golden.safetensors");
  std::vector<std::vector<int32_t>> rows;
  std::vector<int32_t> labels;
  int64_t count = 0;
  for (const Json& row : golden_["rows"]) {
    rows.push_back(row["input_ids"]);
    std::vector<int32_t> own = row["labels"];
    for (size_t t = 0; t < own.size(); ++t) {
      labels.push_back(t + 1 < own.size() ? own[t + 1] : -100);
      count += labels.back() >= 0;
    }
  }
  ModelInput input = make_input(rows);
  for (bool checkpointing : {false, true}) {
    input.gradient_checkpointing = checkpointing;
    for (Parameter* parameter : adapter->parameters()) parameter->gradient = Tensor();
    Tape tape;
    Context context{.backend = &cpu_backend(), .tape = &tape, .compute = DType::kF32, .training = true};
    Var hidden = model->hidden_states(context, input);
    auto head = [&](Context& c, const Var& h) { return model->logits(c, h); };
    double loss = linear_cross_entropy(context, hidden, head, model->config().vocab_size, labels,
                                       1.0f / static_cast<float>(count), false);
    EXPECT_NEAR(loss / static_cast<double>(count), golden_["adapter"]["loss"].get<double>(), 1e-5);
    tape.backward();
    for (Parameter* parameter : adapter->parameters()) {
      Tensor want = reference.tensor("adapter.grad.base_model.model." + parameter->name);
      ASSERT_TRUE(parameter->gradient.defined()) << parameter->name;
      EXPECT_LE(largest_difference(parameter->gradient, want), 1e-4 * std::max(largest(want), 1e-3))
          << parameter->name;
    }
    for (Parameter* parameter : model->parameters())
      EXPECT_FALSE(parameter->gradient.defined()) << parameter->name;
  }
}

TEST_P(GoldenAdapter, MergedFolderGivesTheMergedLogits) {
  test::TempDir dir;
  auto model = load(folder());
  auto adapter = Adapter::load(*model, folder() / "adapter");
  merge_to_folder(*model, folder(), dir / "merged", 40'000, {});  // small shards, so that an index is written
  EXPECT_TRUE(std::filesystem::exists(dir / "merged" / "model.safetensors.index.json"));
  auto merged = load(dir / "merged");
  SafetensorsFile reference(folder() / "golden.safetensors");
  for (size_t i = 0; i < golden_["rows"].size(); ++i) {
    Tensor want = reference.tensor("merged.logits." + std::to_string(i));
    EXPECT_LE(largest_difference(logits(*merged, golden_["rows"][i]["input_ids"]), want),
              1e-4 * largest(want))
        << i;
  }
  EXPECT_THROW(merge_to_folder(*model, folder(), dir / "merged", 1 << 30, {}), Error)
      << "an existing folder is not overwritten";
}

TEST_P(GoldenAdapter, SavedFilesReadBackTheSame) {
  test::TempDir dir;
  auto model = load(folder());
  auto adapter = Adapter::load(*model, folder() / "adapter");
  adapter->save(dir.path());
  SafetensorsFile ours(dir / "adapter_model.safetensors"),
      peft(folder() / "adapter" / "adapter_model.safetensors");
  ASSERT_EQ(ours.tensors().size(), peft.tensors().size());
  EXPECT_EQ(ours.metadata(), peft.metadata());
  for (const auto& [name, info] : peft.tensors())
    EXPECT_EQ(largest_difference(ours.tensor(name), peft.tensor(name)), 0.0) << name;
  EXPECT_EQ(read_json(dir / "adapter_config.json")["peft_type"], "LORA");
}

INSTANTIATE_TEST_SUITE_P(Models, GoldenAdapter,
                         ::testing::Values("llama", "qwen2", "qwen3", "mistral", "gpt2"));

TEST(Targets, FollowPeftsRules) {
  std::vector<std::string> notes;
  auto model = load_model(test::golden_dir() / "models" / "llama",
                          {.compute = DType::kF32, .trainable_base = false, .progress = {}}, notes);
  auto count = [&](TargetSpec spec) { return select_targets(*model, spec).size(); };
  EXPECT_EQ(count({.modules = {"q_proj", "v_proj"}}), 4u);
  EXPECT_EQ(count({.pattern = "all-linear"}), 14u);
  EXPECT_EQ(count({.pattern = R"(model\.layers\.0\..*_proj)"}), 7u);
  EXPECT_EQ(count({.modules = {"q_proj"}, .layers_to_transform = {1}}), 1u);
  EXPECT_EQ(count({.pattern = "all-linear", .exclude_modules = {"down_proj"}}), 12u);
  EXPECT_EQ(all_linear_suffixes(*model), (std::vector<std::string>{"down_proj", "gate_proj", "k_proj",
                                                                   "o_proj", "q_proj", "up_proj", "v_proj"}));
  try {
    count({.modules = {"q_prj"}});
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::kUsage);
    EXPECT_NE(std::string(error.what()).find("q_proj"), std::string::npos);
  }
  EXPECT_THROW(count({.pattern = "(a+"}), Error);
}

TEST(LoraConfig, VariantsThatChangeTheArithmeticAreRefused) {
  FETTLE_REQUIRE_ASSETS();
  int64_t refused = 0, read = 0;
  test::TempDir dir;
  for (const auto& entry :
       std::filesystem::directory_iterator(test::assets_dir() / "adapters" / "peft-method-configs")) {
    if (!entry.path().string().ends_with(".adapter_config.json")) continue;
    test::write_text(dir / "adapter_config.json", test::read_text(entry.path()));
    try {
      AdapterConfig config = AdapterConfig::read(dir.path());
      if (config.peft_type != "LORA") fail_input("another method");
      EXPECT_GT(parse_lora_config(config).r, 0);
      ++read;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ExitCode::kBadInput) << error.what();
      ++refused;
    }
  }
  EXPECT_GT(refused, 10);
  EXPECT_GT(read, 1);
}

}  // namespace
}  // namespace fettle
