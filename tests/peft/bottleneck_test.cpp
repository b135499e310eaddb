// Bottleneck adapters against AdapterHub's library: forward, gradients, training steps, files. Fixtures:
// tools/golden/make_bottlenecks.py.
#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "fettle/base/error.h"
#include "fettle/formats/safetensors.h"
#include "fettle/models/loader.h"
#include "fettle/peft/adapter.h"
#include "peft/model_checks.h"
#include "support.h"

namespace fettle {
namespace {

namespace fs = std::filesystem;
using test::expect_near;
using test::logits;

std::vector<std::string> cases() {
  std::vector<std::string> all;
  for (const char* kind : {"bottlenecks", "fusions"})
    for (const auto& folder : fs::directory_iterator(test::golden_dir() / kind))
      all.push_back(std::string(kind) + "/" + folder.path().filename().string());
  std::sort(all.begin(), all.end());
  return all;
}

class GoldenBottleneck : public ::testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    folder_ = test::golden_dir() / GetParam();
    const std::string name = folder_.filename().string();
    fs::path base = test::golden_dir() / "models" / name.substr(0, name.find('-'));
    std::vector<std::string> notes;
    model_ = load_model(base, {.compute = DType::kF32, .progress = {}}, notes);
    golden_ = read_json(folder_ / "golden.json");
    reference_ = std::make_unique<SafetensorsFile>(folder_ / "golden.safetensors");
    const Json of_base = read_json(base / "golden.json");
    for (const Json& row : of_base["rows"]) {
      rows_.push_back(row["input_ids"]);
      std::vector<int32_t> own = row["labels"];
      for (size_t t = 0; t < own.size(); ++t) {
        labels_.push_back(t + 1 < own.size() ? own[t + 1] : -100);
        count_ += labels_.back() >= 0;
      }
    }
  }

  double forward_backward(Adapter& adapter, bool checkpointing) {
    for (Parameter* parameter : adapter.parameters()) parameter->gradient = Tensor();
    Tape tape;
    Context context{.backend = &cpu_backend(), .tape = &tape, .compute = DType::kF32, .training = true};
    ModelInput input = make_input(rows_);
    input.gradient_checkpointing = checkpointing;
    Var hidden = model_->hidden_states(context, input);
    auto head = [&](Context& c, const Var& h) { return model_->logits(c, h); };
    double loss = linear_cross_entropy(context, hidden, head, model_->config().vocab_size, labels_,
                                       1.0f / static_cast<float>(count_), false);
    tape.backward();
    return loss / static_cast<double>(count_);
  }

  // The bias of a fusion's keys adds the same to every score, so its gradient is zero but for rounding.
  static bool seen_by_softmax(const Parameter& parameter) { return !parameter.name.ends_with("key.bias"); }

  Tensor wanted(const std::string& kind, const Parameter& parameter) {
    std::string key = parameter.name;
    if (constexpr std::string_view kFusion = "fusion_layer."; key.find(kFusion) != key.npos)
      key.insert(key.find(kFusion) + kFusion.size(), "field,law.");
    else
      key.insert(key.find("_adapters.") + 10, "adapters.field.");
    return reference_->tensor(kind + key);
  }

  fs::path folder_;
  Json golden_ = Json();
  std::unique_ptr<SafetensorsFile> reference_;
  std::unique_ptr<CausalLM> model_;
  std::vector<std::vector<int32_t>> rows_;
  std::vector<int32_t> labels_;
  int64_t count_ = 0;
};

TEST_P(GoldenBottleneck, ForwardLossAndGradientsAreAdapterHubs) {
  Tensor plain = logits(*model_, rows_[0]);
  {
    auto adapter = Adapter::load(*model_, folder_);
    EXPECT_EQ(adapter->parameter_count(), golden_["parameters"].get<int64_t>());
    expect_near(logits(*model_, rows_[0]), reference_->tensor("logits.0"), 1e-4, "logits");
    adapter->set_trainable(true);
    for (bool checkpointing : {false, true}) {
      EXPECT_NEAR(forward_backward(*adapter, checkpointing), golden_["loss"].get<double>(), 2e-5);
      for (Parameter* parameter : adapter->parameters())
        if (seen_by_softmax(*parameter))
          expect_near(parameter->gradient_buffer(), wanted("grad.", *parameter), 5e-4, parameter->name);
    }
    EXPECT_NEAR(adapter->add_penalty(cpu_backend()), golden_.value("penalty", 0.0), 1e-4);
    adapter->set_active(false);
    EXPECT_EQ(std::memcmp(logits(*model_, rows_[0]).raw(), plain.raw(), plain.nbytes()), 0);
  }
  EXPECT_EQ(std::memcmp(logits(*model_, rows_[0]).raw(), plain.raw(), plain.nbytes()), 0);
}

TEST_P(GoldenBottleneck, TrainingStepsAreAdapterHubs) {
  auto adapter = Adapter::load(*model_, folder_);
  adapter->set_trainable(true);
  test::take_steps(
      adapter->parameters(), golden_["step_losses"], golden_["learning_rate"].get<float>(),
      [&](int64_t) { return forward_backward(*adapter, false) + adapter->add_penalty(cpu_backend()); },
      [](int64_t) {});
  for (Parameter* p : adapter->parameters())
    if (seen_by_softmax(*p)) test::expect_stepped(*p, wanted("step.", *p), wanted("grad.", *p));
}

TEST_P(GoldenBottleneck, SavedFilesAreAdapterHubs) {
  test::TempDir dir;
  auto adapter = Adapter::load(*model_, folder_);
  Tensor want = logits(*model_, rows_[0]);
  adapter->save(dir.path());
  for (const char* file : {"adapter_config.json", "adapter_fusion_config.json", "law/adapter_config.json"})
    if (fs::exists(folder_ / file)) {
      EXPECT_EQ(read_json(dir / file).dump(2), read_json(folder_ / file).dump(2));
    }
  for (const char* file :
       {"adapter.safetensors", "model_adapter_fusion.safetensors", "law/adapter.safetensors"}) {
    if (!fs::exists(folder_ / file)) continue;
    SafetensorsFile a(dir / file), b(folder_ / file);
    for (const auto& [key, info] : b.tensors()) {
      ASSERT_TRUE(a.tensors().contains(key)) << key;
      EXPECT_EQ(std::memcmp(a.tensor(key).raw(), b.tensor(key).raw(), b.tensor(key).nbytes()), 0) << key;
    }
    EXPECT_EQ(a.tensors().size(), b.tensors().size());
  }
  adapter.reset();
  auto again = Adapter::load(*model_, dir.path());
  EXPECT_EQ(std::memcmp(logits(*model_, rows_[0]).raw(), want.raw(), want.nbytes()), 0);
}

INSTANTIATE_TEST_SUITE_P(All, GoldenBottleneck, ::testing::ValuesIn(cases()), [](const auto& info) {
  std::string name = info.param;
  std::replace_if(
      name.begin(), name.end(), [](char c) { return c == '-' || c == '/'; }, '_');
  return name;
});

TEST(Bottleneck, StacksAsAdapterHubDoes) {
  for (const char* name : {"llama", "qwen2", "gpt2"}) {
    fs::path folder = test::golden_dir() / "stacks" / name, base = test::golden_dir() / "models" / name;
    std::vector<std::string> notes;
    auto model = load_model(base, {.compute = DType::kF32, .progress = {}}, notes);
    auto below = Adapter::load(*model, folder / "field");
    auto above = Adapter::load(*model, folder / "law");
    const Json golden = read_json(base / "golden.json");
    SafetensorsFile reference(folder / "golden.safetensors");
    expect_near(logits(*model, golden["rows"][0]["input_ids"]), reference.tensor("logits.0"), 1e-4, name);
  }
}

TEST(AdapterFusion, NamesWhatCannotBeFused) {
  std::vector<std::string> notes;
  auto model =
      load_model(test::golden_dir() / "models/llama", {.compute = DType::kF32, .progress = {}}, notes);
  auto refused = [&](const std::vector<std::string>& folders, const std::string& text) {
    OrderedJson keys = {{"peft_type", "ADAPTER_FUSION"}};
    keys["adapters"] = OrderedJson::array();
    for (const std::string& folder : folders)
      keys["adapters"].push_back((test::golden_dir() / folder).string());
    try {
      Adapter::create(*model, AdapterConfig::parse(keys, "test"), 1);
      ADD_FAILURE() << text;
    } catch (const Error& error) {
      EXPECT_NE(std::string(error.what()).find(text), std::string::npos) << error.what();
    }
    for (const Sublayers* layer : model->sublayers()) EXPECT_TRUE(layer->after_mlp.empty());
  };
  refused({"bottlenecks/llama-houlsby"}, "at least two");
  refused({"bottlenecks/llama-houlsby", "bottlenecks/llama-pfeiffer"}, "different kinds");
  refused({"bottlenecks/llama-parallel", "bottlenecks/llama-parallel"}, "parallel");
  refused({"bottlenecks/llama-pfeiffer", "nowhere"}, "missing");
  refused({"bottlenecks/llama-pfeiffer", "methods/llama/ia3"}, "fuses bottleneck adapters");
}

TEST(Bottleneck, StartsAsTheIdentityStacksAndNamesWhatItCannot) {
  fs::path base = test::golden_dir() / "models/llama";
  std::vector<std::string> notes;
  auto model = load_model(base, {.compute = DType::kF32, .progress = {}}, notes);
  std::vector<int32_t> row = {3, 9, 27, 81, 4};
  Tensor plain = logits(*model, row);
  auto config = [](const char* more) {
    return AdapterConfig::parse(
        OrderedJson::parse(
            std::string(R"({"peft_type": "BOTTLENECK", "init_weights": "mam_adapter", "mh_adapter": true)") +
            more + "}"),
        "test");
  };
  auto fresh = Adapter::create(*model, config(""), 1);
  expect_near(logits(*model, row), plain, 1e-6, "identity");
  fs::path stored = test::golden_dir() / "bottlenecks/llama-houlsby";
  auto stacked = Adapter::load(*model, stored);
  Tensor both = logits(*model, row);
  fresh.reset();
  expect_near(logits(*model, row), both, 1e-6, "a stack on the identity");
  for (const char* more : {", \"ln_before\": true", ", \"use_gating\": true", ", \"phm_layer\": true",
                           ", \"non_linearity\": \"leakyrelu\"", ", \"leave_out\": [0, 1]"})
    EXPECT_THROW(Adapter::create(*model, config(more), 1), Error) << more;
}

}  // namespace
}  // namespace fettle
