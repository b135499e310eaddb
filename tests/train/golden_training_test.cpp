// Runs of `fettle train` against transformers.Trainer, step by step. Fixtures: tools/golden/make_training.py.
#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "fettle/base/config/config.h"
#include "fettle/base/error.h"
#include "fettle/base/terminal.h"
#include "fettle/base/threads.h"
#include "fettle/formats/safetensors.h"
#include "fettle/train/finetune.h"
#include "support.h"

namespace fettle {
namespace {

class GoldenTraining : public ::testing::TestWithParam<const char*> {
 protected:
  void SetUp() override { set_verbosity(Verbosity::kQuiet); }
  std::filesystem::path folder() const { return test::golden_dir() / "train" / GetParam(); }

  void train(const std::filesystem::path& output, const std::string& extra = "") {
    Json golden = read_json(folder() / "train.json");
    std::vector<std::string> words = {
        "dataset=rows",
        "dataset_dir=" + folder().string(),
        "output_dir=" + output.string(),
        "disable_shuffling=true",
        "model_name_or_path=" + (test::golden_dir() / "models" / golden["model"].get<std::string>()).string(),
        "finetuning_type=" + golden["finetuning_type"].get<std::string>(),
        "save_strategy=no"};
    for (const auto& [key, value] : golden["arguments"].items())
      words.push_back(key + "=" + (value.is_string() ? value.get<std::string>() : value.dump()));
    if (golden["finetuning_type"] == "lora")
      words.push_back("adapter_name_or_path=" + (folder() / "initial_adapter").string());
    if (!extra.empty()) words.push_back(extra);
    run_finetuning(load_config(parse_config_arguments(words), nullptr), RunMode::kTrain);
  }
};

TEST_P(GoldenTraining, FollowsTrainer) {
  test::TempDir dir;
  train(dir / "out");
  Json golden = read_json(folder() / "train.json"),
       history = read_json(dir / "out" / "trainer_state.json")["log_history"];
  ASSERT_EQ(history.size(), golden["steps"].size() + 1);  // and the summary
  for (size_t i = 0; i < golden["steps"].size(); ++i) {
    // trainer_state.json rounds losses to four digits, as Trainer does.
    EXPECT_NEAR(history[i]["loss"].get<double>(), golden["steps"][i]["loss"].get<double>(), 1e-4 + 5e-5)
        << "step " << i + 1;
    EXPECT_NEAR(history[i]["grad_norm"].get<double>(), golden["steps"][i]["grad_norm"].get<double>(),
                1e-4 * golden["steps"][i]["grad_norm"].get<double>() + 1e-5);
    EXPECT_NEAR(history[i]["learning_rate"].get<double>(), golden["steps"][i]["learning_rate"].get<double>(),
                1e-12);
  }
  EXPECT_NEAR(history.back()["train_loss"].get<double>(), golden["train_loss"].get<double>(), 1e-4);
  bool lora = golden["finetuning_type"] == "lora";
  SafetensorsFile want(lora ? folder() / "final_adapter" / "adapter_model.safetensors"
                            : folder() / "final.safetensors");
  SafetensorsFile got(dir / "out" / (lora ? "adapter_model.safetensors" : "model.safetensors"));
  for (const auto& [name, info] : want.tensors()) {
    if (!got.tensors().contains(name)) {
      EXPECT_EQ(name, "lm_head.weight") << "only a tied head may be missing";
      continue;
    }
    Tensor a = got.tensor(name).to(DType::kF32), b = want.tensor(name).to(DType::kF32);
    for (int64_t i = 0; i < a.numel(); ++i) ASSERT_NEAR(a.data<float>()[i], b.data<float>()[i], 1e-3) << name;
  }
}

TEST_P(GoldenTraining, SameBitsForAnyThreadCountAndCheckpointing) {
  test::TempDir dir;
  std::string weights;
  for (auto [name, threads, extra] :
       {std::tuple("a", 1, ""), std::tuple("b", 2, ""), std::tuple("c", 2, "gradient_checkpointing=false"),
        std::tuple("d", 2, "gradient_checkpointing=selective")}) {
    set_thread_count(threads);
    train(dir / name, extra);
    std::filesystem::path adapter = dir / name / "adapter_model.safetensors";
    std::string bytes =
        test::read_text(std::filesystem::exists(adapter) ? adapter : dir / name / "model.safetensors");
    if (weights.empty()) weights = bytes;
    EXPECT_TRUE(bytes == weights) << name;
  }
}

INSTANTIATE_TEST_SUITE_P(Runs, GoldenTraining,
                         ::testing::Values("lora-llama", "lora-qwen2", "full-qwen3", "full-mistral"),
                         [](const auto& info) {
                           std::string name = info.param;
                           for (char& c : name)
                             if (c == '-') c = '_';
                           return name;
                         });

TEST(FineTuning, RefusesWhatCannotWorkBeforeWritingAnything) {
  set_verbosity(Verbosity::kQuiet);
  test::TempDir dir;
  std::string model = (test::golden_dir() / "models" / "llama").string(),
              data = (test::golden_dir() / "train" / "lora-llama").string();
  auto code = [&](std::vector<std::string> words) {
    std::vector<std::string> all = {"model_name_or_path=" + model, "dataset=rows", "dataset_dir=" + data,
                                    "output_dir=" + (dir / "out").string()};
    all.insert(all.end(), words.begin(), words.end());
    try {
      run_finetuning(load_config(parse_config_arguments(all), nullptr), RunMode::kTrain);
    } catch (const Error& error) {
      return static_cast<int>(error.code());
    }
    return 0;
  };
  EXPECT_EQ(code({"model_name_or_path=/no/such/folder"}), 3);
  EXPECT_EQ(code({"dataset=rowz"}), 2);
  EXPECT_EQ(code({"lora_target=q_prj"}), 2);
  EXPECT_EQ(code({"lr_scheduler_type=cosine", "lr_scheduler_kwargs={\"x\": 1}"}), 2);
  test::write_text(dir / "unlabelled.jsonl", "{\"input_ids\":[1,2],\"labels\":[-100,-100]}\n");
  EXPECT_EQ(code({"dataset=" + (dir / "unlabelled.jsonl").string()}), 3);
  test::write_text(dir / "broken.jsonl", "{\"input_ids\":[1,2]}\n{\"input_ids\":[1,\n");
  EXPECT_EQ(code({"dataset=" + (dir / "broken.jsonl").string()}), 3);
  test::write_text(dir / "beyond.jsonl", "{\"input_ids\":[1,2,5000]}\n");
  EXPECT_EQ(code({"dataset=" + (dir / "beyond.jsonl").string()}), 3);
  EXPECT_FALSE(std::filesystem::exists(dir / "out"));
}

}  // namespace
}  // namespace fettle
