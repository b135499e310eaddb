// Evaluation in runs and by itself: several sets, accuracy, answers and their figures, schedules that go by
// it; passes by tokens. By the program itself.
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

class EvaluationRun : public ::testing::Test {
 protected:
  void SetUp() override {
    // Two small sets of its own beside the bundled one.
    const Json rows = read_json(quickstart_ / "data" / "counselling.json");
    for (auto [name, first] : {std::pair{"calm", 0}, std::pair{"storm", 40}}) {
      Json some = Json::array();
      for (int i = 0; i < 5; ++i) some.push_back(rows[static_cast<size_t>(first + i)]);
      test::write_text(folder_ / (std::string(name) + ".json"), some.dump());
    }
  }
  ProcessResult run(const std::string& command, std::vector<std::string> more) {
    std::vector<std::string> words = {
        command,           "model_name_or_path=" + (quickstart_ / "base").string(),
        "template=chatml", "cutoff_len=96",
        "threads=1",       "per_device_eval_batch_size=2"};
    words.insert(words.end(), more.begin(), more.end());
    return test::run_fettle(words);
  }
  ProcessResult train(const std::string& name, std::vector<std::string> more) {
    std::vector<std::string> words = {"dataset=counselling", "dataset_dir=" + (quickstart_ / "data").string(),
                                      "max_samples=12",      "per_device_train_batch_size=4",
                                      "num_train_epochs=2",  "learning_rate=0.003",
                                      "logging_steps=1",     "lora_rank=4",
                                      "plot_loss=false",     "output_dir=" + (folder_ / name).string()};
    words.insert(words.end(), more.begin(), more.end());
    return run("train", words);
  }
  std::string both() const {
    return (folder_ / "calm.json").string() + "," + (folder_ / "storm.json").string();
  }

  fs::path quickstart_ = test::source_dir() / "examples/quickstart";
  test::TempDir folder_;
};

TEST_F(EvaluationRun, SetsAreMeasuredApartAndAnswered) {
  ProcessResult result =
      train("apart", {"eval_dataset=" + both(), "eval_on_each_dataset=true", "eval_strategy=steps",
                      "eval_steps=3", "compute_accuracy=true", "metric_for_best_model=storm_accuracy",
                      "load_best_model_at_end=true", "save_steps=3", "do_predict=true",
                      "predict_with_generate=true", "max_new_tokens=12", "do_sample=false"});
  ASSERT_EQ(result.code, 0) << result.err;
  const Json results = read_json(folder_ / "apart" / "eval_results.json");
  for (const char* key :
       {"eval_calm_loss", "eval_storm_loss", "eval_calm_accuracy", "eval_storm_accuracy",
        "eval_calm_perplexity", "eval_storm_samples_per_second", "eval_calm_bleu-4", "eval_storm_rouge-l"})
    EXPECT_TRUE(results.contains(key)) << key << " " << results.dump();
  EXPECT_NE(results["eval_calm_loss"], results["eval_storm_loss"]);
  EXPECT_GT(results["eval_calm_accuracy"].get<double>(), 0.0);
  EXPECT_LT(results["eval_calm_accuracy"].get<double>(), 1.0);
  const Json state = read_json(folder_ / "apart" / "trainer_state.json");
  double best = -1;
  for (const Json& entry : state["log_history"])
    best = std::max(best, entry.value("eval_storm_accuracy", -1.0));
  EXPECT_EQ(state["best_metric"].get<double>(), best) << "accuracy is better when higher";
  // Every row of both sets was answered.
  const std::string lines = test::read_text(folder_ / "apart" / "generated_predictions.jsonl");
  EXPECT_EQ(std::count(lines.begin(), lines.end(), '\n'), 10);
  const Json line = Json::parse(lines.substr(0, lines.find('\n')));
  EXPECT_THAT(line["prompt"].get<std::string>(), HasSubstr("<|im_start|>assistant"));
  EXPECT_FALSE(line["label"].get<std::string>().empty());
  EXPECT_TRUE(line.contains("predict"));
  const Json predicted = read_json(folder_ / "apart" / "predict_results.json");
  EXPECT_TRUE(predicted.contains("predict_calm_rouge-1") && predicted.contains("predict_storm_exact_match"));
}

TEST_F(EvaluationRun, EvaluateAloneGivesTheFiguresOfTheRun) {
  const std::string calm = (folder_ / "calm.json").string();
  ASSERT_EQ(train("run", {"eval_dataset=" + calm, "do_eval=true", "compute_accuracy=true"}).code, 0);
  const Json of_run = read_json(folder_ / "run" / "eval_results.json");
  ProcessResult alone =
      run("evaluate",
          {"adapter_name_or_path=" + (folder_ / "run").string(), "eval_dataset=" + calm,
           "compute_accuracy=true", "infer_dtype=float32", "output_dir=" + (folder_ / "alone").string()});
  ASSERT_EQ(alone.code, 0) << alone.err;
  EXPECT_THAT(alone.out, HasSubstr("perplexity"));
  const Json by_itself = read_json(folder_ / "alone" / "eval_results.json");
  EXPECT_NEAR(by_itself["eval_loss"].get<double>(), of_run["eval_loss"].get<double>(), 1e-5);
  EXPECT_EQ(by_itself["eval_accuracy"], of_run["eval_accuracy"]);
  // LLaMA-Factory's file for prediction: no training set, no do_train.
  ProcessResult predict =
      run("train",
          {"adapter_name_or_path=" + (folder_ / "run").string(), "eval_dataset=" + calm, "do_predict=true",
           "predict_with_generate=true", "max_new_tokens=6", "output_dir=" + (folder_ / "predict").string()});
  ASSERT_EQ(predict.code, 0) << predict.err;
  EXPECT_TRUE(fs::exists(folder_ / "predict" / "generated_predictions.jsonl"));
  EXPECT_TRUE(read_json(folder_ / "predict" / "predict_results.json").contains("predict_bleu-4"));
}

TEST_F(EvaluationRun, PassesByTokensGiveTheSameLosses) {
  auto losses = [&](const std::string& name) {
    std::vector<double> all;
    const Json state = read_json(folder_ / name / "trainer_state.json");
    for (const Json& entry : state["log_history"])
      if (entry.contains("loss")) all.push_back(entry["loss"]);
    return all;
  };
  ASSERT_EQ(train("rows", {}).code, 0);
  ASSERT_EQ(train("tokens", {"per_device_train_batch_tokens=100"}).code, 0);
  ASSERT_EQ(train("auto", {"per_device_train_batch_size=auto", "max_samples=8"}).code, 0);
  const std::vector<double> rows = losses("rows"), tokens = losses("tokens");
  ASSERT_EQ(rows.size(), tokens.size());
  for (size_t i = 0; i < rows.size(); ++i) EXPECT_NEAR(rows[i], tokens[i], 2e-4) << i;
  EXPECT_EQ(losses("auto").size(), 2u) << "8 rows a step";
  for (const char* init : {"lora_ga", "eva"})
    EXPECT_EQ(train(init, {"per_device_train_batch_size=auto", "max_steps=1", "init_samples=8", "lora_rank=2",
                           std::string("init_lora_weights=") + init})
                  .code,
              0)
        << init;
}

TEST_F(EvaluationRun, OptionsChangeWhatIsTrained) {
  const std::string calm = "eval_dataset=" + (folder_ / "calm.json").string();
  auto first_loss = [&](const std::string& name) {
    return read_json(folder_ / name / "trainer_state.json")["log_history"][0]["loss"].get<double>();
  };
  ASSERT_EQ(train("plain", {}).code, 0);
  ASSERT_EQ(train("smooth", {"label_smoothing_factor=0.2"}).code, 0);
  ASSERT_EQ(train("dft", {"use_dft_loss=true"}).code, 0);
  EXPECT_GT(first_loss("smooth"), first_loss("plain"));
  EXPECT_LT(first_loss("dft"), first_loss("plain"));
  ASSERT_EQ(train("dropped", {"max_samples=10", "dataloader_drop_last=true"}).code, 0);
  EXPECT_EQ(read_json(folder_ / "dropped" / "trainer_state.json")["max_steps"], 4);
  ASSERT_EQ(train("forty", {"max_samples=40", "max_steps=1", "cutoff_len=512"}).code, 0);
  ASSERT_EQ(
      train("grouped", {"max_samples=40", "max_steps=1", "cutoff_len=512", "group_by_length=true"}).code, 0);
  EXPECT_NE(first_loss("grouped"), first_loss("forty"));
  // Rates fall once the metric no longer does.
  ProcessResult fell =
      train("plateau", {calm, "eval_strategy=steps", "eval_steps=1", "learning_rate=0.05",
                        "lr_scheduler_type=reduce_lr_on_plateau",
                        "lr_scheduler_kwargs={\"patience\": 0, \"factor\": 0.5, \"threshold\": 0.5}"});
  ASSERT_EQ(fell.code, 0) << fell.err;
  std::vector<double> rates;
  const Json state = read_json(folder_ / "plateau" / "trainer_state.json");
  for (const Json& entry : state["log_history"])
    if (entry.contains("learning_rate")) rates.push_back(entry["learning_rate"]);
  EXPECT_EQ(rates.front(), 0.05);
  EXPECT_LT(rates.back(), 0.05);
}

TEST_F(EvaluationRun, AProfileSaysWhereTheTimeGoes) {
  for (int again = 0; again < 2; ++again) {
    ProcessResult result = train("run", {"--profile", "resume_from_checkpoint=false"});
    ASSERT_EQ(result.code, 0) << result.err;
    EXPECT_THAT(result.out, HasSubstr("3 steps"));
    for (const char* name :
         {"forward", "backward", "optimizer", "matmul", "attention_backward", "cross_entropy"})
      EXPECT_THAT(result.out, HasSubstr(name));
  }
  const Json trace = read_json(folder_ / "run" / "profile" / "profile.json");
  double flops = 0;
  int forwards = 0;
  for (const Json& event : trace["traceEvents"]) {
    EXPECT_EQ(event["ph"], "X");
    EXPECT_GE(event["dur"].get<double>(), 0);
    forwards += event["name"] == "forward";
    if (event.contains("args")) flops += event["args"].value("flops", 0.0);
  }
  EXPECT_EQ(forwards, 3);
  EXPECT_GT(flops, 1e9);
  // The run itself can follow in the same folder.
  EXPECT_EQ(train("run", {}).code, 0);
}

TEST_F(EvaluationRun, WhatCannotBeIsRefused) {
  const std::string calm = "eval_dataset=" + (folder_ / "calm.json").string();
  auto refused = [&](std::vector<std::string> words, const std::string& text) {
    ProcessResult result = train("refused", words);
    EXPECT_EQ(result.code, 2) << text;
    EXPECT_THAT(result.err, HasSubstr(text));
    EXPECT_FALSE(fs::exists(folder_ / "refused" / "trainer_log.jsonl"));
  };
  refused({calm, "eval_strategy=steps", "metric_for_best_model=accuracy"},
          "is not measured; known: loss, perplexity");
  refused({"lr_scheduler_type=reduce_lr_on_plateau"}, "needs eval_strategy");
  refused({"use_dft_loss=true", "label_smoothing_factor=0.1"}, "contradict");
  refused({"max_samples=3", "dataloader_drop_last=true"}, "do not fill one batch of 4");
  refused({"do_eval=true"}, "nothing to evaluate on");
  refused({calm, "do_predict=true"}, "set predict_with_generate");
}

}  // namespace
}  // namespace fettle
