// What goes wrong inside a run: numbers, rows, terminals, resuming at every moment.
#include <gmock/gmock.h>

#include <nlohmann/json.hpp>

#include "faults/process.h"
#include "fettle/base/json.h"
#include "fettle/train/checkpoint.h"

namespace fettle {
namespace {

namespace fs = std::filesystem;
using test::FaultResult;
using test::ProcessResult;
using ::testing::HasSubstr;

class TrainingFaults : public ::testing::Test {
 protected:
  fs::path run() const { return folder_ / "run"; }
  ProcessResult train(std::vector<std::string> more = {}, const std::vector<std::string>& environment = {}) {
    return test::run_fettle(test::quickstart_run(run(), more), environment);
  }
  static std::string weights(const fs::path& folder) {
    return test::read_text(folder / "adapter_model.safetensors");
  }
  std::string rows(const std::vector<std::string>& lines) {
    std::string text;
    for (const std::string& line : lines) text += line + "\n";
    test::write_text(folder_ / "rows.jsonl", text);
    return "dataset=" + (folder_ / "rows.jsonl").string();
  }
  test::TempDir folder_;
};

// R15
TEST_F(TrainingFaults, AStepThatIsNotFiniteIsNotTaken) {
  // Steps so large that the numbers overflow.
  auto words = [](std::vector<std::string> more) {
    more.insert(more.begin(), {"optim=sgd", "learning_rate=100", "max_grad_norm=0", "save_steps=100"});
    return more;
  };
  ProcessResult diverged = train(words({}));
  ASSERT_EQ(diverged.code, 5) << diverged.err;
  const Json record = read_json(run() / "diverged.json");
  const int64_t step = record["step"];
  ASSERT_GT(step, 1);
  EXPECT_THAT(diverged.err, HasSubstr(fmt::format("training diverged at step {}", step)));
  ASSERT_EQ(record["rows"].size(), 4u);  // two batches of two
  for (const Json& row : record["rows"]) {
    const std::string origin = row["origin"];
    EXPECT_THAT(origin, ::testing::ContainsRegex("counselling.json:[0-9]+"));
    EXPECT_THAT(diverged.err, HasSubstr(origin));
  }
  // What is there are the weights before that step: those of a run that ended there.
  const fs::path saved = run() / fmt::format("checkpoint-{}", step - 1);
  ASSERT_EQ(checkpoint_problem(saved), "");
  ASSERT_EQ(test::run_fettle(
                test::quickstart_run(folder_ / "short", words({fmt::format("stop_at_step={}", step - 1)})))
                .code,
            75);
  EXPECT_TRUE(weights(saved) == weights(folder_ / "short"));
  // Going on from there meets the same step again.
  ProcessResult again = train(words({"resume_from_checkpoint=true"}));
  EXPECT_EQ(again.code, 5) << again.err;
  EXPECT_THAT(again.err, HasSubstr(fmt::format("training diverged at step {}", step)));
}

// R18
TEST_F(TrainingFaults, ASpikeOfTheLossIsTold) {
  std::vector<std::string> lines;
  for (int i = 0; i < 50; ++i)
    lines.push_back(i == 45 ? R"({"instruction": "one", "output": "Qx7 jK# %% wV9 zz~ Hp2 &&"})"
                            : R"({"instruction": "one", "output": "two three"})");
  ProcessResult result =
      train({rows(lines), "max_samples=50", "disable_shuffling=true", "num_train_epochs=1",
             "gradient_accumulation_steps=1", "per_device_train_batch_size=1", "save_steps=100"});
  EXPECT_EQ(result.code, 0) << result.err;
  EXPECT_THAT(result.err, HasSubstr("step 46: the loss of "));
  EXPECT_THAT(result.err, HasSubstr("rows.jsonl:46"));
}

// R37
TEST_F(TrainingFaults, RowsThatCannotBeUsedAreCountedAndNamed) {
  std::vector<std::string> lines(12, R"({"instruction": "one", "output": "two three"})");
  ASSERT_EQ(train({rows(lines)}).code, 0);
  const std::string expected = weights(run());
  fs::remove_all(run());
  lines.insert(lines.begin() + 5, "[1, 2]");
  lines.insert(lines.begin() + 7, R"({"instruction": "one"})");
  ProcessResult result = train({rows(lines), "max_samples=100"});
  EXPECT_EQ(result.code, 0) << result.err;
  EXPECT_THAT(result.err, HasSubstr("2 of 14 rows dropped"));
  for (const char* origin : {"rows.jsonl:6", "rows.jsonl:8"}) EXPECT_THAT(result.err, HasSubstr(origin));
  EXPECT_TRUE(weights(run()) == expected);
  fs::remove_all(run());
  lines[1] = R"({"instruction": "one", "out)";
  result = train({rows(lines), "max_samples=100"});
  EXPECT_EQ(result.code, 3) << result.err;
  EXPECT_THAT(result.err, HasSubstr("rows.jsonl:2"));
}

// R19
TEST_F(TrainingFaults, RowsWithoutALabelAreLeftOut) {
  const std::string row = R"({"input_ids": [10, 11, 12, 13], "labels": [-100, 11, 12, 13]})",
                    none = R"({"input_ids": [10, 11, 12, 13], "labels": [-100, -100, -100, -100]})";
  std::vector<std::string> lines(12, row);
  ASSERT_EQ(train({rows(lines)}).code, 0);
  const std::string expected = weights(run());
  fs::remove_all(run());
  lines.insert(lines.begin() + 3, none);
  lines.insert(lines.begin() + 9, none);
  ProcessResult result = train({rows(lines), "max_samples=100"});
  EXPECT_EQ(result.code, 0) << result.err;
  EXPECT_THAT(result.err, HasSubstr("2 of 14 rows dropped"));
  EXPECT_TRUE(weights(run()) == expected);
  fs::remove_all(run());
  result = train({rows(std::vector<std::string>(4, none))});
  EXPECT_EQ(result.code, 3) << result.err;
  EXPECT_THAT(result.err, HasSubstr("nothing to learn"));
}

// R28, R29
TEST_F(TrainingFaults, WhatMayChangeWhenResumingAndWhatMayNot) {
  const std::string words =
      rows(std::vector<std::string>(12, R"({"instruction": "one", "output": "two three"})"));
  ASSERT_EQ(train({words, "stop_at_step=4"}).code, 75);
  auto resume = [&](std::vector<std::string> more) {
    more.insert(more.begin(), {words, "resume_from_checkpoint=true"});
    return train(more);
  };
  for (const char* changed : {"learning_rate=0.02", "lora_rank=8", "seed=7", "per_device_train_batch_size=1",
                              "lr_scheduler_type=cosine", "max_grad_norm=0.5"}) {
    ProcessResult result = resume({changed});
    EXPECT_EQ(result.code, 2) << changed << result.err;
    // A rank changes alpha too, which is named first.
    EXPECT_THAT(result.err,
                HasSubstr(std::string(changed).substr(0, std::string(changed).find_first_of("_="))));
  }
  // The same number of rows, one word changed; then a row less.
  std::vector<std::string> lines(12, R"({"instruction": "one", "output": "two three"})");
  lines[5] = R"({"instruction": "one", "output": "two four"})";
  rows(lines);
  EXPECT_THAT(resume({}).err, HasSubstr("the data differ"));
  lines.pop_back();
  rows(lines);
  EXPECT_EQ(resume({}).code, 2);
  rows(std::vector<std::string>(12, R"({"instruction": "one", "output": "two three"})"));
  EXPECT_EQ(resume({"num_train_epochs=4", "save_steps=5", "logging_steps=1", "save_total_limit=4"}).code, 0);
  EXPECT_TRUE(fs::exists(run() / "checkpoint-12"));
}

// R30
TEST_F(TrainingFaults, ResumedAfterEveryStep) {
  ASSERT_EQ(test::run_fettle(test::quickstart_run(folder_ / "whole")).code, 0);
  const std::string expected = test::run_result(folder_ / "whole");
  for (int step = 1; step <= 8; ++step) {  // 3 and 6 are ends of an epoch
    SCOPED_TRACE(step);
    fs::remove_all(run());
    ASSERT_EQ(train({fmt::format("stop_at_step={}", step)}).code, 75);
    ASSERT_EQ(train({"resume_from_checkpoint=true"}).code, 0);
    EXPECT_TRUE(test::run_result(run()) == expected);
  }
  // Finished: nothing is trained again.
  ProcessResult finished = train({"resume_from_checkpoint=true"});
  EXPECT_EQ(finished.code, 0) << finished.err;
  EXPECT_TRUE(weights(run()) == weights(folder_ / "whole"));
}

// R32
TEST_F(TrainingFaults, WithOneCheckpointKeptThereIsAlwaysOne) {
  for (const char* stage : {"save-manifest", "save-rename", "save-latest", "save-rotate", "save-remove"})
    for (int n : {2, 3}) {
      SCOPED_TRACE(fmt::format("{}:{}", stage, n));
      fs::remove_all(run());
      ASSERT_EQ(train({"save_total_limit=1"}, {fmt::format("FETTLE_FAILPOINT={}:{}", stage, n)}).code,
                128 + 9);
      int64_t valid = 0;
      for (const fs::directory_entry& entry : fs::directory_iterator(run()))
        if (checkpoint_step(entry.path()) && checkpoint_problem(entry.path()).empty()) ++valid;
      EXPECT_GE(valid, 1);
    }
}

// R36
TEST_F(TrainingFaults, NobodyListens) {
  ASSERT_EQ(test::run_fettle(test::quickstart_run(folder_ / "whole")).code, 0);
  const std::string expected = test::run_result(folder_ / "whole");
  for (const char* shell : {"\"$@\" 2>&1 | :; exit ${PIPESTATUS[0]}", "exec \"$@\" >&- 2>&- <&-",
                            "exec \"$@\" >/dev/full 2>/dev/full"}) {
    SCOPED_TRACE(shell);
    fs::remove_all(run());
    std::vector<std::string> words = {"-c", shell, "bash", test::fettle_binary().string()};
    for (const std::string& word : test::quickstart_run(run())) words.push_back(word);
    ProcessResult result = test::run_program("/bin/bash", words);
    EXPECT_EQ(result.code, 0) << result.err;
    EXPECT_TRUE(test::run_result(run()) == expected);
  }
  // Neither the log nor the samples of the system can be opened.
  for (const char* name : {"trainer_log.jsonl", "system_log.jsonl"}) {
    fs::remove_all(run());
    FaultResult result = test::run_with_fault(test::quickstart_run(run()), {.below = (run() / name).string(),
                                                                            .kind = "EACCES",
                                                                            .operations = "open,write",
                                                                            .at = 1,
                                                                            .lasting = true});
    EXPECT_GE(result.struck, 1);
    EXPECT_EQ(result.code, 0) << result.err;
    EXPECT_TRUE(weights(run()) == weights(folder_ / "whole"));
  }
}

// R38
TEST_F(TrainingFaults, EveryInstructionSetTrainsTheSame) {
  std::vector<double> losses;
  for (const char* path : {"baseline", "avx2", "avx512", ""}) {
    SCOPED_TRACE(path);
    fs::remove_all(run());
    ASSERT_EQ(train({"learning_rate=0.001"}, {std::string("FETTLE_CPU=") + path}).code, 0);
    losses.push_back(read_json(run() / "train_results.json")["train_loss"]);
    EXPECT_NE(read_json(run() / "environment.json")["compute_path"].get<std::string>(), "");
    EXPECT_NEAR(losses.back(), losses.front(), 1e-3 * losses.front());
  }
  fs::remove_all(run());
  ProcessResult wrong = train({}, {"FETTLE_CPU=mmx"});
  EXPECT_EQ(wrong.code, 2) << wrong.err;
  EXPECT_THAT(wrong.err, HasSubstr("expected one of baseline, avx2"));
}

// R41: what a run holds does not grow.
TEST_F(TrainingFaults, ALongRunHoldsNoMoreThanAShortOne) {
  auto held = [&](long save) {
    fs::remove_all(run());
    test::Running running(
        test::quickstart_run(run(), {"max_steps=200", "save_steps=4", "logging_steps=1", "max_samples=8",
                                     "cutoff_len=24", "gradient_accumulation_steps=1"}),
        test::fault_environment(
            {.below = run().string(), .kind = "SIGSTOP", .operations = "mkdir", .at = 2 + save}));
    EXPECT_TRUE(running.wait_for_stop());
    const fs::path process = fs::path("/proc") / std::to_string(running.pid());
    std::map<std::string, int64_t> figures;
    for (const char* part : {"fd", "task"})
      figures[part] = std::distance(fs::directory_iterator(process / part), fs::directory_iterator());
    figures["files"] = std::distance(fs::directory_iterator(run()), fs::directory_iterator());
    std::istringstream status(test::read_text(process / "status"));
    for (std::string line; std::getline(status, line);)
      if (line.starts_with("VmRSS:")) figures["kB"] = std::stol(line.substr(6));
    return figures;
  };
  std::map<std::string, int64_t> early = held(5), late = held(45);
  EXPECT_GT(early["fd"], 3);
  EXPECT_EQ(late["fd"], early["fd"]);
  EXPECT_EQ(late["task"], early["task"]);
  EXPECT_EQ(late["files"], early["files"]);
  // 160 steps and 40 saves: the log history, a few hundred bytes a step.
  EXPECT_LT(late["kB"], early["kB"] + 1500);
}

}  // namespace
}  // namespace fettle
