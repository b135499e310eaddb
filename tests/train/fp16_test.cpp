// fp16 runs: the loss scale of torch.amp.GradScaler, Trainer's rules for skipped steps, and the same bits
// whatever breaks or splits the run. Fixture: tools/golden/make_fp16.py.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "fettle/base/config/config.h"
#include "fettle/base/error.h"
#include "fettle/base/terminal.h"
#include "fettle/base/threads.h"
#include "fettle/formats/safetensors.h"
#include "fettle/train/finetune.h"
#include "fettle/train/loss_scaler.h"
#include "support.h"

namespace fettle {
namespace {

namespace fs = std::filesystem;

Json fixture() {
  return read_json(test::golden_dir() / "train" / "fp16.json");
}

TEST(LossScaler, FollowsGradScaler) {
  const Json golden = fixture()["scaler"];
  const LossScaler scaler{.growth_interval = golden["growth_interval"]};
  LossScaleState state{.scale = scaler.initial};
  int64_t skipped = 0;
  for (const Json& step : golden["finite, skipped, scale"]) {
    scaler.see(step[0], state);
    skipped += step[1].get<bool>();
    EXPECT_EQ(state.skipped, skipped);
    EXPECT_EQ(state.scale, step[2].get<double>());
  }
  LossScaleState top{.scale = golden["top"][0]};
  LossScaler{.growth_interval = 1}.see(true, top);
  EXPECT_EQ(top.scale, golden["top"][1].get<double>());
}

TEST(LossScaler, EndsWhereNoScaleHelps) {
  const LossScaler scaler;
  LossScaleState state{.scale = scaler.initial};
  for (int i = 0; i < 19; ++i) scaler.see(false, state);
  EXPECT_FALSE(scaler.exhausted(state));
  scaler.see(false, state);
  EXPECT_TRUE(scaler.exhausted(state)) << "twenty in a row";
  scaler.see(true, state);
  EXPECT_FALSE(scaler.exhausted(state));
  for (int i = 0; i < 10; ++i) {
    scaler.see(false, state);
    scaler.see(true, state);
  }
  EXPECT_TRUE(scaler.exhausted(state)) << "below the floor";
}

class Fp16 : public ::testing::Test {
 protected:
  void SetUp() override { set_verbosity(Verbosity::kQuiet); }

  // The run of the fixture, into a folder of its own; the code of its error, or 0.
  int train(const std::string& name, const std::vector<std::string>& more) {
    const fs::path rows = test::golden_dir() / "train" / "lora-llama";
    std::vector<std::string> words = {
        "model_name_or_path=" + (test::golden_dir() / "models" / "llama").string(),
        "dataset=rows",
        "dataset_dir=" + rows.string(),
        "output_dir=" + (dir_ / name).string(),
        "disable_shuffling=true",
        "save_strategy=no",
        "plot_loss=false",
        "fp16=true"};
    const Json arguments = read_json(rows / "train.json")["arguments"];
    for (const auto& [key, value] : arguments.items())
      words.push_back(key + "=" + (value.is_string() ? value.get<std::string>() : value.dump()));
    words.insert(words.end(), more.begin(), more.end());
    try {
      run_finetuning(load_config(parse_config_arguments(words), nullptr), RunMode::kTrain);
    } catch (const Error& error) {
      message_ = error.what();
      return static_cast<int>(error.code());
    }
    return 0;
  }
  int train_lora(const std::string& name, std::vector<std::string> more) {
    more.push_back("finetuning_type=lora");
    more.push_back("adapter_name_or_path=" +
                   (test::golden_dir() / "train" / "lora-llama" / "initial_adapter").string());
    return train(name, more);
  }
  Json history(const std::string& name) const {
    return read_json(dir_ / name / "trainer_state.json")["log_history"];
  }
  std::string weights(const std::string& name) const {
    return test::read_text(dir_ / name / "adapter_model.safetensors");
  }
  // What is logged but for the clock.
  std::string log(const std::string& name) const {
    Json all = history(name);
    for (Json& entry : all)
      for (const char* clock : {"train_runtime", "train_samples_per_second", "train_steps_per_second",
                                "effective_tokens_per_sec"})
        entry.erase(clock);
    return all.dump();
  }
  // The llama of the fixtures with one weight multiplied.
  fs::path model_with(const std::string& weight, float factor) {
    const fs::path from = test::golden_dir() / "models" / "llama", to = dir_ / "model";
    fs::create_directories(to);
    fs::copy_file(from / "config.json", to / "config.json", fs::copy_options::overwrite_existing);
    SafetensorsFile file(from / "model.safetensors");
    std::map<std::string, Tensor> tensors;
    for (const auto& [name, info] : file.tensors()) tensors[name] = file.tensor(name).clone();
    for (float& value : tensors.at(weight).span<float>()) value *= factor;
    write_safetensors(to / "model.safetensors", tensors);
    return to;
  }

  test::TempDir dir_;
  std::string message_;
};

TEST_F(Fp16, FollowsTrainerUnderAutocast) {
  ASSERT_EQ(train_lora("run", {}), 0) << message_;
  const Json golden = fixture()["plain"], got = history("run");
  ASSERT_EQ(got.size(), golden["loss"].size() + 1);
  for (size_t i = 0; i < golden["loss"].size(); ++i) {
    EXPECT_NEAR(got[i]["loss"].get<double>(), golden["loss"][i].get<double>(), 5e-3) << "step " << i + 1;
    const double norm = golden["grad_norm"][i];
    EXPECT_NEAR(got[i]["grad_norm"].get<double>(), norm, 1e-2 * norm) << "step " << i + 1;
    EXPECT_NEAR(got[i]["learning_rate"].get<double>(), golden["learning_rate"][i].get<double>(), 1e-12);
    EXPECT_EQ(got[i]["loss_scale"].get<double>(), golden["scale"][i].get<double>());
    EXPECT_EQ(got[i]["skipped_steps"].get<int>(), 0);
  }
}

// Torch's gradients of weights are float16 and overflow earlier than ours, so both runs skip their own steps;
// but what a step does with the rate and the scale is the same.
TEST_F(Fp16, SkippedStepsMoveNeitherWeightsNorSchedule) {
  const Json golden = fixture()["overflowing"];
  std::vector<double> rates;  // of the first update, the second …
  for (size_t i = 0; i < golden["skipped"].size(); ++i)
    if (i == 0 || !golden["skipped"][i - 1].get<bool>()) rates.push_back(golden["learning_rate"][i]);
  ASSERT_EQ(train_lora("run", {"loss_scale_init=1073741824", "loss_scale_window=4"}), 0) << message_;
  const Json got = history("run");
  double scale = 1073741824.0;
  size_t updates = 0;
  int64_t skipped = 0, good = 0;
  for (size_t i = 0; i + 1 < got.size(); ++i) {
    const Json& entry = got[i];
    if (updates < rates.size()) {
      EXPECT_NEAR(entry["learning_rate"].get<double>(), rates[updates], 1e-12) << i;
    }
    const bool skips = entry["skipped_steps"].get<int64_t>() > skipped;
    EXPECT_EQ(entry.contains("grad_norm"), !skips) << i;
    skipped += skips;
    updates += !skips;
    good = skips ? 0 : good + 1;
    scale *= skips ? 0.5 : good == 4 ? 2.0 : 1.0;
    if (good == 4) good = 0;
    EXPECT_EQ(entry["loss_scale"].get<double>(), scale) << i;
    // Nothing was learned until the first update.
    if (updates == 0 || (updates == 1 && !skips)) {
      EXPECT_NEAR(entry["loss"].get<double>(), golden["loss"][i].get<double>(), 5e-3) << i;
    }
  }
  EXPECT_GT(skipped, 3);
  EXPECT_GT(updates, 3u);
}

TEST_F(Fp16, ResumesToTheBitWithTheLossScale) {
  const std::vector<std::string> scale = {"loss_scale_init=1073741824", "loss_scale_window=3",
                                          "save_strategy=steps", "save_steps=20", "lora_dropout=0.1"};
  auto with = [&](std::vector<std::string> more) {
    more.insert(more.end(), scale.begin(), scale.end());
    return more;
  };
  set_thread_count(1);
  ASSERT_EQ(train_lora("whole", with({})), 0) << message_;
  for (const char* stop : {"3", "16", "19"}) {  // while every step is skipped, and between two growths
    SCOPED_TRACE(stop);
    const std::string name = std::string("broken") + stop;
    ASSERT_EQ(train_lora(name, with({std::string("stop_at_step=") + stop})), 75) << message_;
    set_thread_count(2);
    ASSERT_EQ(train_lora(name, with({"resume_from_checkpoint=true"})), 0) << message_;
    set_thread_count(1);
    EXPECT_TRUE(weights(name) == weights("whole"));
    EXPECT_EQ(log(name), log("whole"));
  }
  const Json progress = read_json(dir_ / "whole" / "checkpoint-20" / "training_state.json")["progress"];
  EXPECT_EQ(progress["loss_scale"], history("whole")[19]["loss_scale"]);
}

TEST_F(Fp16, SameBitsForAnyThreadCountAndWithoutCheckpointing) {
  std::string first;
  for (auto [name, threads, checkpointing] :
       {std::tuple("a", 1, "true"), std::tuple("b", 2, "true"), std::tuple("c", 2, "false")}) {
    set_thread_count(threads);
    ASSERT_EQ(train_lora(name, {std::string("gradient_checkpointing=") + checkpointing}), 0) << message_;
    if (first.empty()) first = weights(name);
    EXPECT_TRUE(weights(name) == first) << name;
  }
}

TEST_F(Fp16, EveryKindOfTrainingLearns) {
  for (const char* words :
       {"finetuning_type=full", "finetuning_type=freeze freeze_trainable_layers=1",
        "finetuning_type=lora quantization_bit=4", "finetuning_type=lora use_dora=true",
        "finetuning_type=adalora", "finetuning_type=prefix_tuning", "finetuning_type=oft"}) {
    SCOPED_TRACE(words);
    std::vector<std::string> more = {"learning_rate=0.02", "num_train_epochs=4", "warmup_steps=0",
                                     "overwrite_output_dir=true"};
    const std::string_view text = words;
    for (size_t begin = 0; begin < text.size();) {
      const size_t end = std::min(text.find(' ', begin), text.size());
      more.emplace_back(text.substr(begin, end - begin));
      begin = end + 1;
    }
    ASSERT_EQ(train("run", more), 0) << message_;
    const Json got = history("run");
    // Steps k and k + 10, 20, 30 see the same rows.
    EXPECT_LT(got[33]["loss"].get<double>(), got[3]["loss"].get<double>());
    EXPECT_EQ(got[33]["skipped_steps"].get<int>(), 0);
  }
}

TEST_F(Fp16, ScalesThatNeverFitEndTheRun) {
  EXPECT_EQ(train_lora("run", {"loss_scale_init=1e29", "num_train_epochs=9"}),
            static_cast<int>(ExitCode::kDiverged));
  EXPECT_THAT(message_, testing::HasSubstr("20 steps skipped in a row"));
  EXPECT_THAT(message_, testing::HasSubstr("bf16: true"));
}

TEST_F(Fp16, ActivationsBeyondFloat16EndTheRunWithAHint) {
  const fs::path model = model_with("model.layers.0.mlp.up_proj.weight", 2e4f);
  EXPECT_EQ(train_lora("run", {"model_name_or_path=" + model.string(), "num_train_epochs=9"}),
            static_cast<int>(ExitCode::kDiverged));
  EXPECT_THAT(message_, testing::HasSubstr("An activation exceeds the 65504 of float16"));
  EXPECT_THAT(message_, testing::HasSubstr("set bf16: true"));
}

TEST_F(Fp16, WeightsBeyondFloat16AreRefusedByName) {
  const fs::path model = model_with("model.layers.1.mlp.up_proj.weight", 1e8f);
  EXPECT_EQ(train_lora("run", {"model_name_or_path=" + model.string()}),
            static_cast<int>(ExitCode::kBadInput));
  EXPECT_THAT(message_, testing::HasSubstr("\"model.layers.1.mlp.up_proj.weight\" has values that float16"));
}

}  // namespace
}  // namespace fettle
