// R43: counters of runs that take weeks, files above 4 GiB.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <nlohmann/json.hpp>

#include "fettle/base/error.h"
#include "fettle/base/json.h"
#include "fettle/base/random.h"
#include "fettle/formats/safetensors.h"
#include "fettle/track/run_files.h"
#include "fettle/train/checkpoint.h"
#include "fettle/train/schedule.h"
#include "support.h"

namespace fettle {
namespace {

constexpr int64_t kStep = (int64_t{1} << 33) + 7, kTokens = (int64_t{1} << 45) + 3;

TEST(Counters, StepsAbove32Bits) {
  EXPECT_EQ(checkpoint_step("run/checkpoint-8589934599"), kStep);
  TrainArguments arguments;
  arguments.per_device_train_batch_size = 1;
  arguments.num_train_epochs = 3;
  TrainPlan plan = plan_training(arguments, kStep);
  EXPECT_EQ(plan.total_steps, 3 * kStep);
  EXPECT_EQ(plan.updates_per_epoch, kStep);
  Schedule schedule = make_schedule({.type = "linear",
                                     .learning_rate = 1,
                                     .warmup_steps = 0,
                                     .total_steps = 2 * kStep,
                                     .options = nullptr});
  EXPECT_NEAR(schedule(kStep), 0.5, 1e-9);
  RandomKey low{.seed = 1, .use = RandomUse::kDropout, .site = 2, .step = 7}, high = low;
  high.step = static_cast<uint64_t>(kStep);
  EXPECT_NE(low.block(0), high.block(0));
}

TEST(Counters, FilesTellThemExactly) {
  test::TempDir folder;
  TrainerLog log(folder / "log.jsonl");
  log.write({.current_steps = kStep,
             .total_steps = 2 * kStep,
             .loss = 1,
             .lr = 1e-4,
             .epoch = 1,
             .elapsed_seconds = 86400.0 * 30,
             .throughput = 1,
             .total_tokens = kTokens});
  const Json line = parse_json(test::read_text(folder / "log.jsonl"), "log");
  EXPECT_EQ(line["current_steps"], kStep);
  EXPECT_EQ(line["total_tokens"], kTokens);
  EXPECT_EQ(line["elapsed_time"], "30 days, 0:00:00");
  TrainerState state{.global_step = kStep, .num_input_tokens_seen = kTokens};
  state.write(folder / "state.json");
  EXPECT_EQ(read_json(folder / "state.json")["global_step"], kStep);
  EXPECT_EQ(read_json(folder / "state.json")["num_input_tokens_seen"], kTokens);
}

TEST(Counters, TensorsAbove4GiB) {
  test::TempDir folder;
  const uint64_t bytes = (uint64_t{5} << 30) + 4;
  const std::string header =
      fmt::format(R"({{"big":{{"dtype":"F32","shape":[{}],"data_offsets":[0,{}]}}}})", bytes / 4, bytes);
  std::string start(8, '\0');
  for (size_t i = 0; i < 8; ++i) start[i] = static_cast<char>(header.size() >> (8 * i));
  start += header;
  const std::filesystem::path path = folder / "big.safetensors";
  test::write_text(path, start);
  std::filesystem::resize_file(path, start.size() + bytes);  // a hole takes no disk
  const float last = 42;
  int fd = ::open(path.c_str(), O_WRONLY);
  ASSERT_EQ(::pwrite(fd, &last, 4, static_cast<off_t>(start.size() + bytes - 4)), 4);
  ::close(fd);
  SafetensorsFile file(path);
  EXPECT_EQ(file.tensors().at("big").shape, Shape{static_cast<int64_t>(bytes / 4)});
  std::filesystem::resize_file(path, start.size() + bytes - 4);
  EXPECT_THROW(SafetensorsFile{path}, Error);
}

}  // namespace
}  // namespace fettle
