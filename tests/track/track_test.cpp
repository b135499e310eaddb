#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>

#include "fettle/base/error.h"
#include "fettle/track/plot.h"
#include "fettle/track/run_files.h"
#include "support.h"

namespace fettle {
namespace {

TEST(Plot, SmoothingWeightsAreLlamaFactorys) {
  // w(n) for n = 10, 50, 100 points, seen as the second value of a step from 0 to 1.
  for (auto [n, weight] : {std::pair(10, 0.220427), std::pair(50, 0.763455), std::pair(100, 0.887953)}) {
    std::vector<double> values(static_cast<size_t>(n), 1.0);
    values[0] = 0.0;
    EXPECT_NEAR(smooth(values)[1], 1.0 - weight, 1e-6) << n;
  }
  EXPECT_TRUE(smooth({}).empty());
}

TEST(Plot, WritesAPngWhateverTheValues) {
  test::TempDir dir;
  double nan = std::numeric_limits<double>::quiet_NaN();
  for (const std::vector<double>& y : {std::vector<double>{}, {2.0}, {1.0, 1.0, 1.0}, {3.0, nan, 2.0, 1.0}}) {
    std::vector<double> x(y.size());
    for (size_t i = 0; i < x.size(); ++i) x[i] = static_cast<double>(i);
    plot_loss(dir.path(), x, y);
    std::string png = test::read_text(dir / "training_loss.png");
    EXPECT_EQ(png.substr(0, 8), "\x89PNG\r\n\x1a\n");
    EXPECT_GT(png.size(), 2000u);
  }
}

TEST(Plot, Sparkline) {
  EXPECT_EQ(sparkline({0, 1, 2, 3, 4, 5, 6, 7}, 80), "▁▂▃▄▅▆▇█");
  EXPECT_EQ(sparkline({8, 8, 1, 1}, 2), "█▁");
  EXPECT_EQ(sparkline({}, 10), "");
}

TEST(RunFiles, LogLineHasLlamaFactorysKeys) {
  test::TempDir dir;
  {
    TrainerLog log(dir / "trainer_log.jsonl");
    log.write({.current_steps = 5,
               .total_steps = 20,
               .loss = 1.25,
               .lr = 1e-4,
               .epoch = 0.5,
               .elapsed_seconds = 61,
               .throughput = 100.123,
               .total_tokens = 6107});
  }
  Json line = parse_json(test::read_text(dir / "trainer_log.jsonl"), "log");
  EXPECT_EQ(line["percentage"], 25.0);
  EXPECT_EQ(line["elapsed_time"], "0:01:01");
  EXPECT_EQ(line["remaining_time"], "0:03:03");
  EXPECT_EQ(line["throughput"], 100.12);
  EXPECT_EQ(line["total_tokens"], 6107);
}

TEST(Plot, LengthsArePicture) {
  test::TempDir dir;
  plot_lengths({.title = "Lengths",
                .unit = "tokens",
                .edges = {0, 10, 20},
                .rows = {3, 5},
                .mark = 15,
                .mark_name = "cut"},
               dir / "a.png");
  EXPECT_TRUE(test::read_text(dir / "a.png").starts_with("\x89PNG"));
  EXPECT_THROW(
      plot_lengths({.title = "", .unit = "", .edges = {0}, .rows = {1}, .mark_name = ""}, dir / "b.png"),
      Error);
  EXPECT_FALSE(std::filesystem::exists(dir / "b.png"));
}

TEST(RunFiles, ResultsAreMerged) {
  test::TempDir dir;
  write_results(dir.path(), "train", {{"train_loss", 1.5}});
  write_results(dir.path(), "eval", {{"eval_loss", 2.0}});
  Json all = read_json(dir / "all_results.json");
  EXPECT_EQ(all["train_loss"], 1.5);
  EXPECT_EQ(all["eval_loss"], 2.0);
  EXPECT_EQ(read_json(dir / "train_results.json").size(), 1u);
}

}  // namespace
}  // namespace fettle
