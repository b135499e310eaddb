#include "fettle/train/schedule.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "fettle/base/error.h"
#include "support.h"

namespace fettle {
namespace {

TEST(Schedule, EqualsTransformers) {
  Json golden = read_json(test::golden_dir() / "ops" / "schedules.json");
  int64_t values = 0;
  for (const auto& [name, c] : golden["cases"].items()) {
    ScheduleSpec spec{.type = c["lr_scheduler_type"],
                      .learning_rate = c["learning_rate"],
                      .warmup_steps = c["warmup_steps"],
                      .total_steps = c["max_steps"],
                      .options = std::make_shared<Json>(c["lr_scheduler_kwargs"])};
    Schedule schedule = make_schedule(spec);
    int64_t step = 0;
    for (double rate : c["rates"]) {
      EXPECT_NEAR(spec.learning_rate * schedule(step), rate, 1e-9 * spec.learning_rate + 1e-15)
          << name << " step " << step;
      ++step;
      ++values;
    }
  }
  EXPECT_GT(values, 300);
}

TEST(Schedule, ExponentialFallsToItsFinalRatio) {
  Schedule schedule =
      make_schedule({.type = "exponential", .learning_rate = 1e-3, .warmup_steps = 10, .total_steps = 110});
  EXPECT_DOUBLE_EQ(schedule(5), 0.5);
  EXPECT_DOUBLE_EQ(schedule(10), 1.0);
  EXPECT_NEAR(schedule(60), 0.1, 1e-12);
  EXPECT_NEAR(schedule(110), 0.01, 1e-12);
}

TEST(Schedule, UnknownNamesAndOptionsAreRefused) {
  try {
    make_schedule({.type = "cosin"});
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::kUsage);
    EXPECT_NE(std::string(error.what()).find("did you mean \"cosine\""), std::string::npos);
  }
  auto options = std::make_shared<Json>(Json{{"cycles", 2}});
  EXPECT_THROW(make_schedule({.type = "cosine", .options = options}), Error);
  EXPECT_THROW(make_schedule({.type = "cosine_with_min_lr"}), Error);
}

TEST(Schedule, WarmupStepsWinOverTheRatio) {
  EXPECT_EQ(warmup_steps(7, 0.5, 100), 7);
  EXPECT_EQ(warmup_steps(0, 0.031, 100), 4);
  EXPECT_EQ(warmup_steps(0, 0, 100), 0);
}

}  // namespace
}  // namespace fettle
