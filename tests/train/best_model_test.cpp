// Best checkpoints and early stopping, by the program itself.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "fettle/base/json.h"
#include "support.h"

namespace fettle {
namespace {

namespace fs = std::filesystem;
using test::ProcessResult;
using testing::HasSubstr;

class BestModel : public ::testing::Test {
 protected:
  // So high a learning rate that evaluations get worse after the first ones.
  ProcessResult train(const std::string& name, std::vector<std::string> more,
                      const std::string& failpoint = "") {
    std::vector<std::string> words = {"train",
                                      "model_name_or_path=" + (quickstart_ / "base").string(),
                                      "dataset=counselling",
                                      "dataset_dir=" + (quickstart_ / "data").string(),
                                      "template=chatml",
                                      "max_samples=24",
                                      "val_size=0.25",
                                      "cutoff_len=64",
                                      "per_device_train_batch_size=3",
                                      "num_train_epochs=3",
                                      "learning_rate=0.02",
                                      "lr_scheduler_type=constant",
                                      "logging_steps=1",
                                      "eval_strategy=steps",
                                      "eval_steps=2",
                                      "save_steps=2",
                                      "lora_rank=4",
                                      "threads=1",
                                      "plot_loss=false",
                                      "output_dir=" + (folder_ / name).string()};
    words.insert(words.end(), more.begin(), more.end());
    std::vector<std::string> environment;
    if (!failpoint.empty()) environment.push_back("FETTLE_FAILPOINT=" + failpoint);
    return test::run_fettle(words, environment);
  }
  Json state(const std::string& name) const { return read_json(folder_ / name / "trainer_state.json"); }
  std::string adapter(const std::string& folder) const {
    return test::read_text(folder_ / folder / "adapter_model.safetensors");
  }
  // Step and value of the lowest eval_loss of a run.
  static std::pair<int64_t, double> lowest(const Json& state) {
    std::pair<int64_t, double> best = {0, 1e9};
    for (const Json& entry : state["log_history"])
      if (entry.contains("eval_loss") && entry["step"] != 0 && entry["eval_loss"] < best.second)
        best = {entry["step"], entry["eval_loss"]};
    return best;
  }

  fs::path quickstart_ = test::source_dir() / "examples/quickstart";
  test::TempDir folder_;
};

TEST_F(BestModel, IsKeptAndBecomesTheResult) {
  ProcessResult run =
      train("out", {"load_best_model_at_end=true", "save_total_limit=1", "eval_on_start=true"});
  ASSERT_EQ(run.code, 0) << run.err;
  Json json = state("out");
  auto [step, loss] = lowest(json);
  ASSERT_LT(step, 18) << "the last evaluation is the best: the test shows nothing";
  EXPECT_EQ(json["log_history"][0]["step"], 0) << "evaluated on start";
  EXPECT_EQ(json["best_global_step"], step);
  EXPECT_EQ(json["best_metric"], loss);
  EXPECT_EQ(json["best_model_checkpoint"],
            (folder_ / "out").string() + "/checkpoint-" + std::to_string(step));
  EXPECT_TRUE(adapter("out") == adapter("out/checkpoint-" + std::to_string(step)));
  EXPECT_FALSE(adapter("out") == adapter("out/checkpoint-18"));
  int checkpoints = 0;
  for (const auto& entry : fs::directory_iterator(folder_ / "out"))
    checkpoints += entry.path().filename().string().starts_with("checkpoint-");
  EXPECT_EQ(checkpoints, 2) << "the newest and the best";
  EXPECT_THAT(run.err, HasSubstr("its weights are the result"));
}

TEST_F(BestModel, EndsARunThatGainsNothingAndSurvivesAKill) {
  ProcessResult run = train("out", {"early_stopping_steps=2", "metric_for_best_model=eval_perplexity"});
  ASSERT_EQ(run.code, 0) << run.err;
  Json json = state("out");
  auto [step, loss] = lowest(json);
  EXPECT_EQ(json["global_step"], step + 4) << "two evaluations later";
  EXPECT_NEAR(json["best_metric"].get<double>(), std::exp(loss), 1e-9);
  EXPECT_TRUE(fs::exists(folder_ / "out" / ("checkpoint-" + std::to_string(step + 4))));

  ASSERT_EQ(
      train("broken", {"early_stopping_steps=2", "metric_for_best_model=eval_perplexity"}, "step:5").code,
      128 + 9);
  ASSERT_EQ(train("broken", {"early_stopping_steps=2", "metric_for_best_model=eval_perplexity",
                             "resume_from_checkpoint=true"})
                .code,
            0);
  EXPECT_EQ(state("broken")["global_step"], json["global_step"]);
  EXPECT_TRUE(adapter("broken") == adapter("out"));
}

TEST_F(BestModel, IsNotLookedForBeforeEvalDelay) {
  auto steps = [&](const std::string& name, std::vector<std::string> more) {
    EXPECT_EQ(train(name, more).code, 0);
    std::vector<int64_t> found;
    const Json json = state(name);
    for (const Json& entry : json["log_history"])
      if (entry.contains("eval_loss")) found.push_back(entry["step"]);
    return found;
  };
  EXPECT_THAT(steps("steps", {"eval_delay=13"}), testing::ElementsAre(14, 16, 18));
  EXPECT_THAT(steps("epochs", {"eval_strategy=epoch", "save_strategy=epoch", "eval_delay=2"}),
              testing::ElementsAre(12, 18));
}

TEST_F(BestModel, CanBeTheOnlyOneThatIsSaved) {
  ASSERT_EQ(train("out", {"save_strategy=best", "save_total_limit=1"}).code, 0);
  auto [step, loss] = lowest(state("out"));
  std::vector<std::string> checkpoints;
  for (const auto& entry : fs::directory_iterator(folder_ / "out"))
    if (entry.path().filename().string().starts_with("checkpoint-"))
      checkpoints.push_back(entry.path().filename());
  EXPECT_THAT(checkpoints, testing::ElementsAre("checkpoint-" + std::to_string(step)));
}

TEST_F(BestModel, WhatCannotBeIsRefused) {
  for (const auto& [option, expected] : std::vector<std::pair<std::string, std::string>>{
           {"metric_for_best_model=bleu", "known: loss, perplexity"},
           {"greater_is_better=true", "better when it is lower"},
           {"eval_strategy=no", "need eval_strategy"},
           {"save_strategy=no", "needs checkpoints"}}) {
    ProcessResult run = train("refused", {"load_best_model_at_end=true", option});
    EXPECT_EQ(run.code, 2) << option;
    EXPECT_THAT(run.err, HasSubstr(expected)) << option;
  }
}

}  // namespace
}  // namespace fettle
