// fettle sweep: grid, search, halving, resuming, work from outside, and what is refused.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "fettle/base/error.h"
#include "fettle/base/json.h"
#include "fettle/track/run_folder.h"
#include "fettle/track/search_space.h"
#include "support.h"

namespace fettle {
namespace {

namespace fs = std::filesystem;
using test::ProcessResult;
using testing::HasSubstr;

class Sweep : public ::testing::Test {
 protected:
  std::string file(const std::string& more, const std::string& name = "sweep.yaml") {
    const fs::path quickstart = test::source_dir() / "examples/quickstart";
    test::write_text(
        folder_ / name,
        "options:\n  model_name_or_path: " + (quickstart / "base").string() +
            "\n  dataset: counselling\n  dataset_dir: " + (quickstart / "data").string() +
            "\n  template: chatml\n  max_samples: 16\n  cutoff_len: 48\n  max_steps: 4\n  lora_rank: 2\n"
            "  per_device_train_batch_size: 2\n  logging_steps: 1\n  threads: 1\n  plot_loss: false\n"
            "output_dir: " +
            (folder_ / "out").string() + "\n" + more);
    return (folder_ / name).string();
  }
  std::vector<Json> record() const {
    std::vector<Json> lines;
    std::istringstream text(test::read_text(folder_ / "out" / "sweep.jsonl"));
    for (std::string line; std::getline(text, line);) lines.push_back(Json::parse(line));
    return lines;
  }
  test::TempDir folder_;
};

TEST_F(Sweep, AGridIsTriedAndRanked) {
  const std::string path = file(
      "method: grid\nmetric: loss\nparameters:\n  learning_rate: [1.0e-5, 5.0e-3]\n  lora_alpha: [4, 8]\n");
  ProcessResult result = test::run_fettle({"sweep", path});
  ASSERT_EQ(result.code, 0) << result.err;
  EXPECT_THAT(result.out, HasSubstr("lora_alpha"));
  EXPECT_THAT(result.err, HasSubstr("Best:   learning_rate=5.0e-3"));
  for (const char* name : {"sweep.csv", "sweep.png", "trial-000/adapter_model.safetensors", "trial-003.log"})
    EXPECT_TRUE(fs::exists(folder_ / "out" / name)) << name;
  EXPECT_EQ(record().size(), 8u);
  // Everything is known: nothing is trained again, and the record does not grow.
  ASSERT_EQ(test::run_fettle({"sweep", path}).code, 0);
  EXPECT_EQ(record().size(), 8u);
  ProcessResult other =
      test::run_fettle({"sweep", file("method: grid\nparameters: {lora_alpha: [4]}\n", "other.yaml")});
  EXPECT_EQ(other.code, 2);
  EXPECT_THAT(other.err, HasSubstr("a sweep of another file"));
}

TEST_F(Sweep, HalvingStopsThePoorOnesAndGoesOnAfterACut) {
  const std::string path = file(
      "method: grid\nmetric: loss\nhalving: {min_steps: 1, factor: 2}\nparameters: {learning_rate: [1.0e-6, "
      "1.0e-4, 1.0e-3, 5.0e-3]}\n");
  ASSERT_EQ(test::run_fettle({"sweep", path}).code, 0);
  std::map<int64_t, int> measured;
  bool to_the_end = false;
  for (const Json& line : record())
    if (line.contains("value")) {
      ++measured[line["steps"]];
      to_the_end = to_the_end || line["steps"] == 0;
    }
  EXPECT_EQ(measured[1], 4);
  EXPECT_EQ(measured[2], 2);
  EXPECT_TRUE(to_the_end);
  // A record whose last lines a crash took is completed.
  std::string text = test::read_text(folder_ / "out" / "sweep.jsonl");
  const size_t lines = record().size();
  text.resize(text.rfind('\n', text.size() - 2) + 10);
  test::write_text(folder_ / "out" / "sweep.jsonl", text);
  ASSERT_EQ(test::run_fettle({"sweep", path}).code, 0);
  EXPECT_EQ(record().size(), lines);
}

TEST_F(Sweep, WorksForAnOptimizerOutside) {
  const std::string path =
      file("metric: loss\nparameters: {learning_rate: {min: 1.0e-5, max: 1.0e-2, log: true}}\n");
  ProcessResult result = test::run_fettle({"sweep", path, "--serve"}, {},
                                          "{\"ask\": true}\n{\"tell\": {\"trial\": 0, \"value\": 2.5}}\n"
                                          "{\"run\": {\"trial\": 7, \"parameters\": {\"learning_rate\": "
                                          "0.001}, \"steps\": 2}}\n{\"run\": {\"trial\": 7}}\n"
                                          "{\"run\": {\"trial\": 9}}\n{\"dance\": 1}\nno json\n");
  ASSERT_EQ(result.code, 0) << result.err;
  std::vector<Json> answers;
  std::istringstream text(result.out);
  for (std::string line; std::getline(text, line);) answers.push_back(Json::parse(line));
  ASSERT_EQ(answers.size(), 7u) << result.out;
  EXPECT_EQ(answers[0]["trial"], 0);
  const double rate = std::stod(answers[0]["parameters"]["learning_rate"].get<std::string>());
  EXPECT_TRUE(rate >= 1e-5 && rate <= 1e-2);
  EXPECT_EQ(answers[1]["ok"], true);
  EXPECT_EQ(answers[2]["finished"], false);
  EXPECT_EQ(answers[3]["finished"], true);
  EXPECT_NE(answers[2]["value"], answers[3]["value"]);
  for (size_t i = 4; i < 7; ++i) EXPECT_TRUE(answers[i].contains("error")) << answers[i].dump();
}

TEST_F(Sweep, WhatIsWrongIsNamed) {
  auto refused = [&](const std::string& more, const std::string& text) {
    ProcessResult result = test::run_fettle({"sweep", file(more)});
    EXPECT_EQ(result.code, 2) << more;
    EXPECT_THAT(result.err, HasSubstr(text)) << more;
    EXPECT_FALSE(fs::exists(folder_ / "out"));
  };
  refused("method: grid\n", "parameters is missing");
  refused("parameters: {lora_rnk: [1]}\n", "did you mean lora_rank?");
  refused("parameters: {lora_rank: [0]}\n", "lora_rank: found \"0\"");
  refused("parameters: {learning_rate: {min: 1, max: 0}}\n", "min below max");
  refused("parameters: {learning_rate: {min: 0, max: 1, log: true}}\n", "log needs a min above 0");
  refused("method: grid\nparameters: {learning_rate: {min: 0, max: 1}}\n", "a grid needs");
  refused("parameters: {output_dir: [a, b]}\n", "is set by the sweep itself");
  refused("method: bayes\nparameters: {lora_rank: [1]}\n", "expected grid, random or tpe");
  refused("trails: 3\nparameters: {lora_rank: [1]}\n", "did you mean trials?");
  refused("halving: {factor: 3}\nparameters: {lora_rank: [1]}\n", "min_steps is missing");
}

TEST_F(Sweep, EndsWithItsRunsWhenTheMetricIsNotThere) {
  ProcessResult result = test::run_fettle(
      {"sweep", file("method: grid\nmetric: rouge\nparallel: 2\nparameters: {max_steps: [1, 1000000]}\n")});
  EXPECT_EQ(result.code, 2);
  EXPECT_THAT(result.err, HasSubstr("metric rouge"));
  const fs::path other = folder_ / "out/trial-001";
  // It may have been told to end before it took its first step.
  if (is_run_folder(other)) EXPECT_EQ(read_run_folder(other).status, RunFolder::Status::kInterrupted);
}

TEST(SearchSpace, TpeFindsTheBottomFasterThanChance) {
  std::vector<SearchParameter> parameters(2);
  parameters[0] = {.name = "x", .choices = {}, .min = -5, .max = 5};
  parameters[1] = {.name = "kind", .choices = {"a", "b", "c"}};
  auto value = [](const SearchPoint& p) {
    const double x = std::stod(p[0]) - 2;
    return x * x + (p[1] == "b" ? 0 : 4);
  };
  double best[2] = {0, 0};
  for (int method = 0; method < 2; ++method)
    for (uint64_t seed = 0; seed < 10; ++seed) {
      SearchSpace space(parameters, method ? SearchMethod::kTpe : SearchMethod::kRandom, seed);
      std::vector<SearchResult> results;
      double lowest = 1e9;
      for (int64_t i = 0; i < 40; ++i) {
        SearchPoint point = space.suggest(i, results);
        EXPECT_EQ(point, space.suggest(i, results)) << "the same results give the same point";
        results.push_back({point, value(point)});
        lowest = std::min(lowest, results.back().value);
      }
      best[method] += lowest / 10;
    }
  EXPECT_LT(best[1], best[0] / 2);
}

TEST(SearchSpace, RangesKeepTheirBounds) {
  std::vector<SearchParameter> parameters(3);
  parameters[0] = {.name = "rate", .choices = {}, .min = 1e-5, .max = 1e-2, .log = true};
  parameters[1] = {.name = "rank", .choices = {}, .min = 2, .max = 9, .integer = true};
  parameters[2] = {.name = "drop", .choices = {}, .min = 0, .max = 0.2, .step = 0.05};
  SearchSpace space(parameters, SearchMethod::kRandom, 3);
  int small = 0;
  for (int64_t i = 0; i < 200; ++i) {
    SearchPoint p = space.suggest(i, {});
    const double rate = std::stod(p[0]), drop = std::stod(p[2]);
    EXPECT_TRUE(rate >= 1e-5 && rate <= 1e-2);
    small += rate < 3.2e-4;
    EXPECT_TRUE(std::stoi(p[1]) >= 2 && std::stoi(p[1]) <= 9 && p[1].find('.') == p[1].npos);
    EXPECT_NEAR(drop / 0.05, std::nearbyint(drop / 0.05), 1e-6);
  }
  EXPECT_TRUE(small > 60 && small < 140) << "half of them below the middle of the logarithm";
  EXPECT_EQ(parameters[2].grid(), (std::vector<std::string>{"0", "0.05", "0.1", "0.15", "0.2"}));
}

}  // namespace
}  // namespace fettle
