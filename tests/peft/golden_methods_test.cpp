// Every method against PEFT on tiny models: forward, gradients, training steps, merging and files. Fixtures:
// tools/golden/make_methods.py.
#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "fettle/base/error.h"
#include "fettle/formats/safetensors.h"
#include "fettle/models/loader.h"
#include "fettle/peft/adapter.h"
#include "fettle/peft/merge.h"
#include "peft/model_checks.h"
#include "support.h"

namespace fettle {
namespace {

namespace fs = std::filesystem;
using test::expect_near;
using test::logits;

struct MethodCase {
  std::string model, method;
};

std::vector<MethodCase> cases() {
  std::vector<MethodCase> all;
  for (const auto& model : fs::directory_iterator(test::golden_dir() / "methods"))
    for (const auto& method : fs::directory_iterator(model.path()))
      all.push_back({model.path().filename().string(), method.path().filename().string()});
  std::sort(all.begin(), all.end(), [](const MethodCase& a, const MethodCase& b) {
    return std::tie(a.model, a.method) < std::tie(b.model, b.method);
  });
  return all;
}

std::unique_ptr<CausalLM> load(const fs::path& folder) {
  std::vector<std::string> notes;
  return load_model(folder, {.compute = DType::kF32, .trainable_base = false, .progress = {}}, notes);
}

// A prompt that is a plain table is saved as it is.
constexpr const char* kTable = "internal.prompt_encoder.embedding.weight";

class GoldenMethod : public ::testing::TestWithParam<MethodCase> {
 protected:
  void SetUp() override {
    folder_ = test::golden_dir() / "methods" / GetParam().model / GetParam().method;
    base_ = test::golden_dir() / "models" / GetParam().model;
    golden_ = read_json(folder_ / "golden.json");
    reference_ = std::make_unique<SafetensorsFile>(folder_ / "golden.safetensors");
    model_ = load(base_);
    bool first = read_json(folder_ / "adapter_config.json")["peft_type"] == "PROMPT_TUNING" ||
                 read_json(folder_ / "adapter_config.json")["peft_type"] == "P_TUNING";
    for (const Json& row : golden_["rows"]) {
      rows_.push_back(row["input_ids"]);
      std::vector<int32_t> own = row["labels"];
      if (first) first_labels_.push_back(own[0]);
      for (size_t t = 0; t < own.size(); ++t) {
        labels_.push_back(t + 1 < own.size() ? own[t + 1] : -100);
        label_count_ += labels_.back() >= 0;
      }
    }
    for (int32_t label : first_labels_) label_count_ += label >= 0;
    labels_.insert(labels_.end(), first_labels_.begin(), first_labels_.end());
  }

  // For training. Files of prompts hold what an encoder gave; its own weights are taken from the fixture.
  std::unique_ptr<Adapter> load_for_training() {
    bool encoder = false;
    for (const auto& [name, info] : reference_->tensors())
      encoder = encoder || (name.starts_with("internal.") && name != kTable);
    if (!encoder) return Adapter::load(*model_, folder_);
    AdapterConfig config = AdapterConfig::read(folder_);
    std::unique_ptr<Adapter> adapter = Adapter::create(*model_, config, 1);
    for (Parameter* parameter : adapter->parameters()) {
      Tensor value = reference_->tensor("internal." + parameter->name);
      EXPECT_EQ(value.shape(), parameter->shape) << parameter->name;
      parameter->value.assign(value.raw(), value.nbytes());
    }
    return adapter;
  }

  double forward_backward(Adapter& adapter, bool checkpointing = false, bool remakes = false) {
    for (Parameter* parameter : adapter.parameters()) parameter->gradient = Tensor();
    Tape tape;
    Context context{.backend = &cpu_backend(),
                    .tape = &tape,
                    .compute = DType::kF32,
                    .training = true,
                    .remakes = remakes};
    ModelInput input = make_input(rows_);
    input.gradient_checkpointing = checkpointing;
    input.with_prompt_outputs = !first_labels_.empty();
    Var hidden = model_->hidden_states(context, input);
    auto head = [&](Context& c, const Var& h) { return model_->logits(c, h); };
    double loss = linear_cross_entropy(context, hidden, head, model_->config().vocab_size, labels_,
                                       1.0f / static_cast<float>(label_count_), model_->head_trainable());
    tape.backward();
    return loss / static_cast<double>(label_count_);
  }

  Tensor wanted(const std::string& kind, const Parameter& parameter) {
    for (const char* prefix : {"base_model.model.", "base_model.", "", "internal."})
      for (const char* end : {"", ".weight"})
        if (std::string key = kind + prefix + parameter.name + end; reference_->tensors().contains(key))
          return reference_->tensor(key);
    if (parameter.name == "prompt_embeddings") return reference_->tensor(kind + kTable);
    ADD_FAILURE() << kind << parameter.name << " is not in the fixture";
    return Tensor::zeros(parameter.shape, DType::kF32);
  }

  fs::path folder_, base_;
  Json golden_ = Json();
  std::unique_ptr<SafetensorsFile> reference_;
  std::unique_ptr<CausalLM> model_;
  std::vector<std::vector<int32_t>> rows_;
  std::vector<int32_t> labels_, first_labels_;
  int64_t label_count_ = 0;
};

TEST_P(GoldenMethod, ForwardIsPefts) {
  Tensor plain = logits(*model_, rows_[0]);
  {
    auto adapter = Adapter::load(*model_, folder_);
    expect_near(logits(*model_, rows_[0]), reference_->tensor("logits.0"), 1e-4, "logits");
    adapter->set_active(false);
    if (!GetParam().method.ends_with("issa") && !GetParam().method.ends_with("olora") &&
        !GetParam().method.ends_with("replicated")) {
      Tensor idle = logits(*model_, rows_[0]);
      EXPECT_EQ(std::memcmp(idle.raw(), plain.raw(), plain.nbytes()), 0)
          << "an inactive adapter changes nothing";
    }
  }
  Tensor after = logits(*model_, rows_[0]);
  EXPECT_EQ(std::memcmp(after.raw(), plain.raw(), plain.nbytes()), 0)
      << "unmounting leaves the base as it was";
}

TEST_P(GoldenMethod, GradientsArePefts) {
  auto adapter = load_for_training();
  adapter->set_trainable(true);
  for (auto [checkpointing, remakes] :
       {std::pair(false, false), std::pair(true, false), std::pair(false, true)}) {
    EXPECT_NEAR(forward_backward(*adapter, checkpointing, remakes), golden_["loss"].get<double>(), 2e-5);
    for (Parameter* parameter : adapter->parameters()) {
      expect_near(parameter->gradient_buffer(), wanted("grad.", *parameter), 5e-4, parameter->name);
    }
  }
}

TEST_P(GoldenMethod, TrainingStepsArePefts) {
  auto adapter = load_for_training();
  EXPECT_EQ(adapter->parameter_count(), golden_["trainable_parameters"].get<int64_t>());
  adapter->set_trainable(true);
  adapter->begin_training(golden_["steps"]);
  test::take_steps(
      adapter->parameters(), golden_["step_losses"], golden_["learning_rate"].get<float>(),
      [&](int64_t) { return forward_backward(*adapter) + adapter->add_penalty(cpu_backend()); },
      [&](int64_t step) { adapter->after_step(step, true); });
  for (Parameter* p : adapter->parameters())
    test::expect_stepped(*p, wanted("step.", *p), wanted("grad.", *p));
}

TEST_P(GoldenMethod, GenerationSeesTheSameModel) {
  auto adapter = Adapter::load(*model_, folder_);
  // The row in two pieces through a cache gives the logits of the whole row.
  const ModelConfig& c = model_->config();
  KVCache cache(c.num_hidden_layers, c.num_key_value_heads, c.head_dim, DType::kF32);
  Context context{.backend = &cpu_backend(), .compute = DType::kF32};
  std::vector<int32_t> row = rows_[0], head(row.begin(), row.begin() + 5), tail(row.begin() + 5, row.end());
  model_->hidden_states(context, make_input({row}, {&cache}));
  cache.truncate(0);
  model_->hidden_states(context, make_input({head}, {&cache}));
  Tensor last = model_->logits(context, model_->hidden_states(context, make_input({tail}, {&cache}))).value;
  Tensor whole = logits(*model_, row);
  expect_near(last, whole.rows_view(5, whole.dim(0)).clone(), 1e-4, "through a cache");
}

TEST_P(GoldenMethod, MergedFolderGivesPeftsMergedLogits) {
  if (!reference_->tensors().contains("merged.logits.0")) return;  // PEFT merges it to something else, or not
  test::TempDir dir;
  auto adapter = Adapter::load(*model_, folder_);
  ASSERT_EQ(adapter->why_not_mergeable(), "");
  merge_to_folder(*model_, base_, dir / "merged", 1 << 30, {});
  expect_near(logits(*load(dir / "merged"), rows_[0]), reference_->tensor("merged.logits.0"), 1e-4, "merged");
}

TEST_P(GoldenMethod, SavedFilesArePefts) {
  test::TempDir dir;
  auto adapter = Adapter::load(*model_, folder_);
  adapter->save(dir.path());
  SafetensorsFile ours(dir / "adapter_model.safetensors"), theirs(folder_ / "adapter_model.safetensors");
  Json config = read_json(dir / "adapter_config.json"), golden = read_json(folder_ / "adapter_config.json");
  EXPECT_EQ(config["peft_type"], golden["peft_type"]);
  bool doubled = GetParam().method.ends_with("pissa") || GetParam().method.ends_with("olora");
  if (!doubled) {
    EXPECT_EQ(ours.metadata(), theirs.metadata());
    for (const auto& [name, info] : theirs.tensors()) {
      if (name.ends_with("embed_tokens.base_layer.weight") || name.ends_with("lm_head.base_layer.weight"))
        continue;  // the base's own table, which is not repeated
      ASSERT_TRUE(ours.tensors().contains(name)) << name;
      Tensor a = ours.tensor(name), b = theirs.tensor(name);
      ASSERT_EQ(a.shape(), b.shape()) << name;
      EXPECT_EQ(std::memcmp(a.raw(), b.raw(), a.nbytes()), 0) << name;
    }
    for (const auto& [name, info] : ours.tensors()) EXPECT_TRUE(theirs.tensors().contains(name)) << name;
    // Every key that we write is one of PEFT's and says the same.
    for (const auto& [key, value] : config.items()) {
      if (key == "inference_mode" || key == "init_lora_weights") continue;
      ASSERT_TRUE(golden.contains(key)) << key;
      Json mine = value, peft = golden[key];
      if (mine.is_array()) std::sort(mine.begin(), mine.end());
      if (peft.is_array()) std::sort(peft.begin(), peft.end());
      EXPECT_EQ(mine, peft) << key;
    }
  }
  Tensor want = reference_->tensor("logits.0");
  adapter.reset();
  auto again = Adapter::load(*model_, dir.path());
  expect_near(logits(*model_, rows_[0]), want, 1e-4, "read back");
}

// LoRA on a base in 4 or 8 bits that Transformers saved (tools/golden/make_quantized.py).
TEST(QuantisedBase, LoraHasPeftsLogitsLossAndGradients) {
  for (const char* kind : {"nf4-double", "nf4", "fp4", "int8"}) {
    fs::path folder = test::golden_dir() / "quantized" / (std::string("llama-") + kind);
    SafetensorsFile reference(folder / "golden.safetensors");
    Json golden = read_json(folder / "golden.json");
    std::vector<int32_t> row = golden["row"], own = golden["labels"], labels;
    auto model = load(folder);
    auto adapter = Adapter::load(*model, test::golden_dir() / "models/llama/adapter");
    expect_near(logits(*model, row), reference.tensor("adapter.logits.0"), 1e-4, kind);
    adapter->set_trainable(true);
    int64_t count = 0;
    for (size_t t = 0; t < own.size(); ++t) {
      labels.push_back(t + 1 < own.size() ? own[t + 1] : -100);
      count += labels.back() >= 0;
    }
    Tape tape;
    Context context{.backend = &cpu_backend(), .tape = &tape, .compute = DType::kF32, .training = true};
    Var hidden = model->hidden_states(context, make_input({row}));
    auto head = [&](Context& c, const Var& h) { return model->logits(c, h); };
    double loss = linear_cross_entropy(context, hidden, head, model->config().vocab_size, labels,
                                       1.0f / static_cast<float>(count), false) /
                  static_cast<double>(count);
    tape.backward();
    EXPECT_NEAR(loss, reference.tensor("adapter.loss").data<float>()[0], 2e-5) << kind;
    int compared = 0;
    for (Parameter* parameter : adapter->parameters()) {
      Tensor want = reference.tensor("adapter.grad.base_model.model." + parameter->name);
      expect_near(parameter->gradient_buffer(), want, 5e-4, kind + (" " + parameter->name));
      ++compared;
    }
    EXPECT_EQ(compared, 28);
  }
}

INSTANTIATE_TEST_SUITE_P(Methods, GoldenMethod, ::testing::ValuesIn(cases()), [](const auto& info) {
  std::string name = info.param.model + "_" + info.param.method;
  for (char& c : name)
    if (!std::isalnum(static_cast<unsigned char>(c))) c = '_';
  return name;
});

}  // namespace
}  // namespace fettle
