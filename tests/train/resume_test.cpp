// Kill it anywhere and go on: the program itself, killed at every stage of a step and of a save.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/file.h>
#include <unistd.h>

#include "quickstart.h"

namespace fettle {
namespace {

namespace fs = std::filesystem;
using test::ProcessResult;

class Resume : public ::testing::Test {
 protected:
  ProcessResult train(const std::string& name, const std::vector<std::string>& more = {},
                      const std::string& failpoint = "") {
    std::vector<std::string> environment;
    if (!failpoint.empty()) environment.push_back("FETTLE_FAILPOINT=" + failpoint);
    return test::run_fettle(test::quickstart_run(folder_ / name, more), environment);
  }

  static std::string bytes(const fs::path& path) { return test::read_text(path); }

  std::string result(const std::string& name) { return test::run_result(folder_ / name); }

  test::TempDir folder_;
};

TEST_F(Resume, KilledAtEveryStageTheResultIsTheSame) {
  ProcessResult whole = train("whole");
  ASSERT_EQ(whole.code, 0) << whole.err;
  std::string expected = result("whole");
  // 9 steps, saves after 2, 4, 6, 8 and 9.
  for (const char* stage :
       {"step:5", "step:9", "save-begin:2", "save-optimizer:2", "save-weights:3", "save-manifest:2",
        "save-rename:2", "save-latest:3", "save-rotate:3", "save-remove:2", "save-rename:5", "final:1"}) {
    SCOPED_TRACE(stage);
    fs::remove_all(folder_ / "broken");
    ProcessResult broken = train("broken", {}, stage);
    ASSERT_EQ(broken.code, 128 + 9) << broken.err;
    ProcessResult resumed = train("broken", {"resume_from_checkpoint=true"});
    ASSERT_EQ(resumed.code, 0) << resumed.err;
    EXPECT_TRUE(result("broken") == expected);
    for (const fs::directory_entry& entry : fs::directory_iterator(folder_ / "broken"))
      EXPECT_EQ(entry.path().string().find(".tmp"), std::string::npos) << entry.path();
  }
}

TEST_F(Resume, AnotherNumberOfThreadsAndCheckpointingGiveTheSame) {
  ASSERT_EQ(train("whole").code, 0);
  ASSERT_EQ(train("broken", {}, "step:5").code, 128 + 9);
  ProcessResult resumed = train("broken", {"resume_from_checkpoint=true", "threads=2"});
  ASSERT_EQ(resumed.code, 0) << resumed.err;
  EXPECT_TRUE(result("broken") == result("whole"));
}

TEST_F(Resume, DamagedCheckpointsAreSkippedByName) {
  ASSERT_EQ(train("whole").code, 0);
  ASSERT_EQ(train("run", {}, "step:9").code, 128 + 9);
  // One bit of the newest one.
  fs::path damaged = folder_ / "run/checkpoint-8/optimizer.safetensors";
  std::string content = bytes(damaged);
  content[content.size() / 2] ^= 1;
  test::write_text(damaged, content);
  ProcessResult resumed = train("run", {"resume_from_checkpoint=true"});
  ASSERT_EQ(resumed.code, 0) << resumed.err;
  EXPECT_NE(resumed.err.find("skipped checkpoint-8: optimizer.safetensors"), std::string::npos)
      << resumed.err;
  EXPECT_TRUE(result("run") == result("whole"));
}

TEST_F(Resume, NothingToResumeIsAnErrorAndNotANewStart) {
  ProcessResult empty = train("empty", {"resume_from_checkpoint=true"});
  EXPECT_EQ(empty.code, 3) << empty.err;
  EXPECT_NE(empty.err.find("no valid checkpoint"), std::string::npos) << empty.err;
  ASSERT_EQ(train("run", {}, "step:5").code, 128 + 9);
  for (const char* name : {"checkpoint-2", "checkpoint-4"})
    test::write_text(folder_ / "run" / name / "training_state.json", "{}");
  EXPECT_EQ(train("run", {"resume_from_checkpoint=true"}).code, 3);
}

TEST_F(Resume, ChangedOptionsAndDataAreNamed) {
  ASSERT_EQ(train("run", {}, "step:5").code, 128 + 9);
  ProcessResult changed = train("run", {"resume_from_checkpoint=true", "learning_rate=0.02"});
  EXPECT_EQ(changed.code, 2);
  EXPECT_NE(changed.err.find("learning_rate"), std::string::npos) << changed.err;
  changed = train("run", {"resume_from_checkpoint=true", "lora_rank=8"});
  EXPECT_EQ(changed.code, 2);
  fs::path other = folder_ / "other.json";
  test::write_text(other, R"([{"instruction": "a", "output": "b"}, {"instruction": "c", "output": "d"}])");
  std::string base = (test::source_dir() / "examples/quickstart/data/counselling.json").string();
  changed = train("run", {"resume_from_checkpoint=true", "max_samples=11"});
  EXPECT_EQ(changed.code, 2);
  EXPECT_NE(changed.err.find("max_samples"), std::string::npos) << changed.err;
  // How often to log or save may change.
  EXPECT_EQ(train("run", {"resume_from_checkpoint=true", "save_steps=3", "logging_steps=1"}).code, 0);
}

TEST_F(Resume, FinishedRunsAndSecondRuns) {
  ASSERT_EQ(train("run").code, 0);
  std::string before = result("run");
  ASSERT_EQ(train("run", {"resume_from_checkpoint=true"}).code, 0);
  EXPECT_EQ(bytes(folder_ / "run/latest"), "checkpoint-9\n");
  // Without it a finished folder is not overwritten.
  ProcessResult again = train("run");
  EXPECT_EQ(again.code, 2);
  EXPECT_NE(again.err.find("resume_from_checkpoint=true"), std::string::npos) << again.err;
}

TEST_F(Resume, ASecondRunInTheSameFolderIsRefused) {
  fs::create_directories(folder_ / "run");
  int fd = ::open((folder_ / "run/.lock").c_str(), O_RDWR | O_CREAT, 0644);
  ASSERT_GE(fd, 0);
  ASSERT_EQ(::flock(fd, LOCK_EX), 0);
  ASSERT_EQ(::write(fd, "4711", 4), 4);
  ProcessResult second = train("run");
  EXPECT_EQ(second.code, 4);
  EXPECT_NE(second.err.find("process 4711 is training there"), std::string::npos) << second.err;
  ::close(fd);
  EXPECT_EQ(train("run").code, 0);
}

}  // namespace
}  // namespace fettle
