// Signals, a process that is stopped for a while, a wall clock that is set.
#include <gmock/gmock.h>
#include <signal.h>

#include <nlohmann/json.hpp>

#include "faults/process.h"
#include "fettle/train/checkpoint.h"

namespace fettle {
namespace {

namespace fs = std::filesystem;
using test::Fault;
using test::FaultResult;
using ::testing::HasSubstr;

class SignalFaults : public ::testing::Test {
 protected:
  fs::path run() const { return folder_ / "run"; }
  void SetUp() override {
    ASSERT_EQ(test::run_fettle(test::quickstart_run(folder_ / "whole")).code, 0);
    expected_ = test::run_result(folder_ / "whole");
  }
  // The program signals itself at the n-th write of its log, that is in training.
  FaultResult at_log_line(const std::string& kind, long n) {
    fs::remove_all(run());
    return test::run_with_fault(
        test::quickstart_run(run()),
        {.below = (run() / "trainer_log.jsonl").string(), .kind = kind, .operations = "write", .at = n});
  }
  // … at the n-th making of a folder: the first two are the output folder, the others are for checkpoints.
  FaultResult at_save(const std::string& kind, long n) {
    fs::remove_all(run());
    return test::run_with_fault(test::quickstart_run(run()),
                                {.below = run().string(), .kind = kind, .operations = "mkdir", .at = 2 + n});
  }
  // … when it opens the n-th file of the model.
  FaultResult in_loading(const std::string& kind, long n) {
    fs::remove_all(run());
    return test::run_with_fault(test::quickstart_run(run()),
                                {.below = (test::source_dir() / "examples/quickstart/base").string(),
                                 .kind = kind,
                                 .operations = "read",
                                 .at = n});
  }
  void expect_goes_on() {
    test::ProcessResult resumed =
        test::run_fettle(test::quickstart_run(run(), {"resume_from_checkpoint=true"}));
    ASSERT_EQ(resumed.code, 0) << resumed.err;
    EXPECT_TRUE(test::run_result(run()) == expected_);
  }
  test::TempDir folder_;
  std::string expected_;
};

// R20
TEST_F(SignalFaults, RequestsToStopSaveAtTheNextStep) {
  for (const char* kind : {"SIGTERM", "SIGINT", "SIGHUP"}) {
    SCOPED_TRACE(kind);
    FaultResult training = at_log_line(kind, 2);
    EXPECT_EQ(training.struck, 1);
    EXPECT_EQ(training.code, 75) << training.err;
    EXPECT_THAT(training.err, HasSubstr("on request"));
    EXPECT_EQ(checkpoint_problem(run() / "checkpoint-4"), "");
    expect_goes_on();
    // While checkpoint-2 is written: it is completed, and the step after it is the last.
    FaultResult saving = at_save(kind, 1);
    EXPECT_EQ(saving.code, 75) << saving.err;
    EXPECT_EQ(checkpoint_problem(run() / "checkpoint-2"), "");
    EXPECT_EQ(checkpoint_problem(run() / "checkpoint-3"), "");
    expect_goes_on();
  }
  FaultResult loading = in_loading("SIGTERM", 2);
  EXPECT_EQ(loading.struck, 1);
  EXPECT_EQ(loading.code, 128 + SIGTERM) << loading.err;
  EXPECT_EQ(test::run_fettle(test::quickstart_run(run())).code, 0);
  EXPECT_TRUE(test::run_result(run()) == expected_);
}

TEST_F(SignalFaults, ASecondInterruptLeavesAtOnce) {
  FaultResult training = at_log_line("SIGINTx2", 2);
  EXPECT_EQ(training.code, 130) << training.err;
  expect_goes_on();
  FaultResult saving = at_save("SIGINTx2", 2);
  EXPECT_EQ(saving.code, 130) << saving.err;
  EXPECT_FALSE(fs::exists(run() / "checkpoint-4"));
  expect_goes_on();
}

TEST_F(SignalFaults, UserSignalsSaveAndGoOn) {
  FaultResult loading = in_loading("SIGUSR1", 2);
  EXPECT_EQ(loading.code, 0) << loading.err;
  EXPECT_TRUE(test::run_result(run()) == expected_);
  FaultResult training = at_log_line("SIGUSR1", 2);
  EXPECT_EQ(training.code, 0) << training.err;
  EXPECT_TRUE(test::run_result(run()) == expected_);
  fs::remove_all(run());
  // With nothing to be saved but on request.
  FaultResult saved = test::run_with_fault(
      test::quickstart_run(run(), {"save_strategy=no"}),
      {.below = (run() / "trainer_log.jsonl").string(), .kind = "SIGUSR1", .operations = "write", .at = 2});
  EXPECT_EQ(saved.code, 0) << saved.err;
  EXPECT_EQ(checkpoint_problem(run() / "checkpoint-4"), "");
}

TEST_F(SignalFaults, HangupsThatAreIgnoredStayIgnored) {
  std::vector<std::string> words = {test::fettle_binary().string()};
  for (const std::string& word : test::quickstart_run(run())) words.push_back(word);
  std::vector<std::string> environment = test::fault_environment(
      {.below = (run() / "trainer_log.jsonl").string(), .kind = "SIGHUP", .operations = "write", .at = 2});
  test::ProcessResult result = test::run_program("/usr/bin/nohup", words, environment);
  EXPECT_EQ(result.code, 0) << result.err;
  EXPECT_TRUE(test::run_result(run()) == expected_);
}

// R21
TEST_F(SignalFaults, AStoppedProcessGoesOn) {
  test::Running running(test::quickstart_run(run()),
                        test::fault_environment({.below = (run() / "trainer_log.jsonl").string(),
                                                 .kind = "SIGSTOP",
                                                 .operations = "write",
                                                 .at = 2}));
  ASSERT_TRUE(running.wait_for_stop());
  // The lock is held all the while.
  test::ProcessResult second = test::run_fettle(test::quickstart_run(run(), {"resume_from_checkpoint=true"}));
  EXPECT_EQ(second.code, 4) << second.err;
  EXPECT_THAT(second.err, HasSubstr(fmt::format("process {} is training there", running.pid())));
  running.send(SIGCONT);
  test::ProcessResult result = running.wait();
  EXPECT_EQ(result.code, 0) << result.err;
  EXPECT_TRUE(test::run_result(run()) == expected_);
}

// R22
TEST_F(SignalFaults, TheWallClockMayBeSet) {
  for (const char* seconds : {"-86400", "315360000", "-3600"}) {
    SCOPED_TRACE(seconds);
    fs::remove_all(run());
    Fault fault;
    fault.more = {std::string("FAULT_CLOCK=5:") + seconds};
    FaultResult result = test::run_with_fault(test::quickstart_run(run(), {"stop_at_step=5"}), fault);
    ASSERT_EQ(result.code, 75) << result.err;
    // Which is the newest follows from the number of the step, not from the time of the file.
    const auto now = fs::file_time_type::clock::now();
    fs::last_write_time(run() / "checkpoint-4", now + std::chrono::hours(24));
    fs::last_write_time(run() / "checkpoint-5", now - std::chrono::hours(24 * 365 * 20));
    expect_goes_on();
    EXPECT_TRUE(fs::exists(run() / "checkpoint-8") && fs::exists(run() / "checkpoint-9"));
    EXPECT_FALSE(fs::exists(run() / "checkpoint-4") || fs::exists(run() / "checkpoint-5"));
    // Samples of the system tell no load of a million percent.
    std::istringstream lines(test::read_text(run() / "system_log.jsonl"));
    for (std::string line; std::getline(lines, line);)
      EXPECT_LT(nlohmann::json::parse(line).at("cpu_percent").get<double>(), 1e5);
  }
}

}  // namespace
}  // namespace fettle
