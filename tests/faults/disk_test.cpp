// Disks that are full, fail, cannot be written, or lose power: nothing but whole checkpoints is ever left.
#include <gmock/gmock.h>

#include <nlohmann/json.hpp>
#include <regex>

#include "faults/process.h"
#include "fettle/base/json.h"
#include "fettle/train/checkpoint.h"

namespace fettle {
namespace {

namespace fs = std::filesystem;
using test::Fault;
using test::FaultResult;
using ::testing::HasSubstr;

class DiskFaults : public ::testing::Test {
 protected:
  fs::path run() const { return folder_ / "run"; }
  FaultResult train(Fault fault, std::vector<std::string> more = {}) {
    fs::remove_all(run());
    fs::remove_all(folder_ / "run.lost");
    if (fault.below.empty()) fault.below = run().string();
    return test::run_with_fault(words(run(), more), fault);
  }
  // As short as runs can be.
  static std::vector<std::string> words(const fs::path& output, const std::vector<std::string>& more = {}) {
    std::vector<std::string> all = {"cutoff_len=16", "max_samples=6", "gradient_accumulation_steps=1",
                                    "plot_loss=false"};
    all.insert(all.end(), more.begin(), more.end());
    return test::quickstart_run(output, all);
  }
  void train_whole() {
    ASSERT_EQ(test::run_fettle(words(folder_ / "whole", {"save_total_limit=9"})).code, 0);
    for (int step : {2, 4, 6, 8, 9})
      whole_[step] = test::folder_content(folder_ / "whole" / fmt::format("checkpoint-{}", step));
    expected_ = test::run_result(folder_ / "whole");
  }

  // Every folder called checkpoint-N is one of the unbroken run, or is known not to be whole. The newest
  // whole one.
  int64_t check_checkpoints(bool all_whole) {
    int64_t newest = 0;
    if (!fs::exists(run())) return 0;
    for (const fs::directory_entry& entry : fs::directory_iterator(run())) {
      std::optional<int64_t> step = checkpoint_step(entry.path());
      if (!step) continue;
      const std::string problem = checkpoint_problem(entry.path());
      if (!problem.empty()) {
        EXPECT_FALSE(all_whole) << entry.path() << ": " << problem;
        continue;
      }
      EXPECT_TRUE(test::folder_content(entry.path()) == whole_[*step]) << entry.path();
      newest = std::max(newest, *step);
    }
    return newest;
  }
  void expect_nothing_staged() {
    if (!fs::exists(run())) return;
    for (const fs::directory_entry& entry : fs::directory_iterator(run()))
      EXPECT_EQ(entry.path().string().find(".tmp"), std::string::npos) << entry.path();
  }

  test::TempDir folder_;
  std::map<int64_t, std::string> whole_;
  std::string expected_;
};

// R04: one operation fails, or all from there on.
TEST_F(DiskFaults, EveryOperationMayFail) {
  train_whole();
  const long count = train({.below = {}, .kind = "EIO", .operations = {}, .at = 1000000}).counted;
  ASSERT_GT(count, 300);
  struct Way {
    const char* kind;
    bool lasting;
    long few;
  };
  for (const Way& way :
       {Way{"ENOSPC", false, 16}, {"ENOSPC", true, 12}, {"EIO", false, 6}, {"EDQUOT", true, 3}}) {
    const long stride = test::fault_stride(count, way.few);
    for (long n = 1 + stride / 2; n <= count; n += stride) {
      SCOPED_TRACE(fmt::format("{}{} at {} of {}", way.kind, way.lasting ? " from there on" : "", n, count));
      FaultResult result =
          train({.below = {}, .kind = way.kind, .operations = {}, .at = n, .lasting = way.lasting});
      SCOPED_TRACE(result.operation + " " + result.path + "\n" + result.err);
      ASSERT_GE(result.struck, 1);
      ASSERT_TRUE(result.code == 0 || result.code == 4) << result.code;
      if (result.code == 4) {
        EXPECT_THAT(result.err, HasSubstr("error: "));
        EXPECT_THAT(result.err, ::testing::AnyOf(HasSubstr("No space left"), HasSubstr("Input/output"),
                                                 HasSubstr("quota")));
      }
      // Staging folders can only be removed where removing works.
      if (!way.lasting) expect_nothing_staged();
      const int64_t newest = check_checkpoints(true);
      if (result.code == 0) {
        EXPECT_TRUE(test::read_text(run() / "adapter_model.safetensors") ==
                    test::read_text(folder_ / "whole/adapter_model.safetensors"));
      } else if (newest > 0) {
        // With room again the run goes on.
        ASSERT_EQ(test::run_fettle(words(run(), {"resume_from_checkpoint=true"})).code, 0);
        EXPECT_TRUE(test::read_text(run() / "adapter_model.safetensors") ==
                    test::read_text(folder_ / "whole/adapter_model.safetensors"));
      }
    }
  }
}

TEST_F(DiskFaults, InterruptedAndShortWritesAreNoFaults) {
  train_whole();
  for (const char* kind : {"EINTR", "short"}) {
    const char* operations = std::string(kind) == "short" ? "write" : "open,write,fsync,close";
    const long count = train({.below = {}, .kind = kind, .operations = operations, .at = 1000000}).counted;
    const long stride = test::fault_stride(count, 3);
    for (long n = 1; n <= count; n += stride) {
      SCOPED_TRACE(fmt::format("{} at {} of {}", kind, n, count));
      FaultResult result = train({.below = {}, .kind = kind, .operations = operations, .at = n});
      ASSERT_EQ(result.code, 0) << result.operation << " " << result.path << "\n" << result.err;
      EXPECT_TRUE(test::run_result(run()) == expected_);
      EXPECT_EQ(check_checkpoints(true), 9);
    }
  }
}

TEST_F(DiskFaults, AFailedSaveIsTriedAgainOrEndsTheRun) {
  train_whole();
  const Fault second_checkpoint = {
      .below = (run() / "checkpoint-4").string(), .kind = "ENOSPC", .operations = "rename", .at = 3};
  FaultResult retried = train(second_checkpoint);
  EXPECT_EQ(retried.code, 0) << retried.err;
  EXPECT_THAT(retried.err, HasSubstr("cannot save checkpoint-4 (need about"));
  EXPECT_THAT(retried.err, HasSubstr("No space left on device; the run goes on"));
  EXPECT_TRUE(test::run_result(run()) == expected_);
  FaultResult stopped = train(second_checkpoint, {"save_failure=stop"});
  EXPECT_EQ(stopped.code, 4) << stopped.err;
  EXPECT_THAT(stopped.err, HasSubstr("error: cannot save checkpoint-4 (need about"));
  EXPECT_EQ(check_checkpoints(true), 2);
  expect_nothing_staged();
}

// R04: a limit on the size of files gives EFBIG and a signal.
TEST_F(DiskFaults, LimitsOnTheSizeOfFiles) {
  std::vector<std::string> words = {"--fsize=100000", test::fettle_binary().string()};
  for (const std::string& word : DiskFaults::words(run())) words.push_back(word);
  test::ProcessResult result = test::run_program("/usr/bin/prlimit", words);
  EXPECT_EQ(result.code, 4) << result.err;
  EXPECT_THAT(result.err, HasSubstr("File too large"));
  EXPECT_EQ(check_checkpoints(true), 0);
  expect_nothing_staged();
}

// R05
TEST_F(DiskFaults, TheDiskIsKnownBeforeTheFirstStep) {
  // Where weights outweigh the small files.
  const std::vector<std::string> more = {"lora_rank=64"};
  uint64_t real = 0;
  for (const std::vector<std::string>& kind :
       {std::vector<std::string>{"finetuning_type=full", "lora_dropout=0"},
        {"finetuning_type=full", "lora_dropout=0", "pure_bf16=true", "optim=adamw_8bit"},
        more}) {
    FaultResult result = train({}, kind);
    ASSERT_EQ(result.code, 0) << result.err;
    real = 0;
    for (const fs::directory_entry& entry : fs::directory_iterator(run() / "checkpoint-9"))
      real += entry.file_size();
    std::vector<std::string> words = DiskFaults::words(folder_ / "estimated", kind);
    words[0] = "estimate";
    test::ProcessResult estimate = test::run_fettle(words);
    std::smatch number;
    ASSERT_TRUE(std::regex_search(estimate.out, number, std::regex("a checkpoint takes ([0-9.]+) MB")))
        << estimate.out << estimate.err;
    EXPECT_NEAR(std::stod(number[1]) * 1e6, static_cast<double>(real), 0.02 * static_cast<double>(real));
  }
  auto with_free = [&](uint64_t bytes, std::vector<std::string> words) {
    Fault fault;
    fault.more = {fmt::format("FAULT_FREE={}", bytes)};
    words.insert(words.end(), more.begin(), more.end());
    return train(fault, words);
  };
  // Room for one checkpoint and the result, which is less than half of one, but not for the three that will
  // be there.
  FaultResult warned = with_free(real * 2, {});
  EXPECT_EQ(warned.code, 0) << warned.err;
  EXPECT_THAT(warned.err, HasSubstr("are free; the result takes"));
  EXPECT_THAT(warned.err, HasSubstr("save_total_limit=2"));
  FaultResult refused = with_free(real, {});
  EXPECT_EQ(refused.code, 4) << refused.err;
  EXPECT_THAT(refused.err, HasSubstr("disk_check=warn"));
  EXPECT_FALSE(fs::exists(run() / "trainer_log.jsonl"));
  EXPECT_EQ(with_free(real, {"disk_check=warn"}).code, 0);
  EXPECT_THAT(with_free(real * 9, {}).err, ::testing::Not(HasSubstr("are free; the result takes")));
}

// R06
TEST_F(DiskFaults, FoldersThatCannotBeWritten) {
  for (const char* kind : {"EROFS", "EACCES", "ENOSPC"}) {
    FaultResult result =
        train({.below = {}, .kind = kind, .operations = "mkdir,open", .at = 1, .lasting = true});
    EXPECT_EQ(result.code, 4) << result.err;
    EXPECT_THAT(result.err, HasSubstr("output_dir"));
    FaultResult file = train({.below = {}, .kind = kind, .operations = "open", .at = 1, .lasting = true});
    EXPECT_EQ(file.code, 4) << file.err;
    EXPECT_THAT(file.err, HasSubstr("cannot create"));
    EXPECT_THAT(file.err, ::testing::Not(HasSubstr("trainable params")));
  }
  test::ProcessResult nowhere = test::run_fettle(words("/proc/nowhere"));
  EXPECT_EQ(nowhere.code, 4) << nowhere.err;
}

TEST_F(DiskFaults, AFolderThatVanishesIsMadeAgain) {
  train_whole();
  // Between the first checkpoint and the second.
  FaultResult result = train({.below = {}, .kind = "vanish", .operations = "mkdir", .at = 4});
  EXPECT_THAT(result.path, HasSubstr("checkpoint-4"));
  EXPECT_EQ(result.code, 0) << result.err;
  EXPECT_TRUE(test::read_text(run() / "adapter_model.safetensors") ==
              test::read_text(folder_ / "whole/adapter_model.safetensors"));
  EXPECT_EQ(check_checkpoints(true), 9);
}

// R03
TEST_F(DiskFaults, ALossOfPowerLeavesTheOldCheckpointOrTheNewOne) {
  train_whole();
  const long count = train({.below = {}, .kind = "EIO", .operations = {}, .at = 1000000}).counted;
  const long trials = test::try_all_faults() ? 1000 : 24;
  long resumed = 0;
  for (long trial = 1; trial <= trials; ++trial) {
    const long n = 1 + trial * 7919 % count;
    FaultResult result =
        train({.below = {}, .kind = "power", .operations = {}, .at = n, .lasting = false, .seed = trial});
    SCOPED_TRACE(fmt::format("seed {}, power lost at {} of {}: {} {}\n{}", trial, n, count, result.operation,
                             result.path, result.err));
    ASSERT_EQ(result.code, 128 + 9);
    // What was reported as saved before, by its name in `latest` being given, must be there.
    const int64_t newest = check_checkpoints(false);
    if (newest == 0 || trial % 4 != 0) continue;
    ++resumed;
    test::ProcessResult again = test::run_fettle(words(run(), {"resume_from_checkpoint=true"}));
    ASSERT_EQ(again.code, 0) << again.err;
    EXPECT_TRUE(test::run_result(run()) == expected_);
    expect_nothing_staged();
  }
  EXPECT_GT(resumed, trials / 10);
}

}  // namespace
}  // namespace fettle
