// The index of runs gives what the folders say, whatever becomes of it.
#include "fettle/track/run_index.h"

#include <gtest/gtest.h>

#include "support.h"

namespace fettle {
namespace {

namespace fs = std::filesystem;

class RunIndexTest : public ::testing::Test {
 protected:
  void SetUp() override {
    write("a", 0.5);
    write("group/b", 0.25);
    test::write_text(dir_ / "runs/a/train_results.json", R"({"train_loss": 0.75})");
    test::write_text(dir_ / "runs/a/run_config.yaml", "lora_rank: 8\nrun_name: \"räte\"\n");
  }
  void write(const std::string& name, double loss) {
    fs::create_directories(dir_ / "runs" / name);
    test::write_text(
        dir_ / "runs" / name / "trainer_log.jsonl",
        fmt::format(
            "{{\"current_steps\": 1, \"total_steps\": 4, \"loss\": {}, \"lr\": 1e-4, \"throughput\": 9.5, "
            "\"total_tokens\": 77, \"elapsed_time\": \"0:00:01\"}}\n"
            "{{\"current_steps\": 2, \"total_steps\": 4, \"eval_loss\": 1.5}}\n",
            loss));
  }
  struct Listed {
    std::vector<RunFolder> runs;
    int64_t hits;
  };
  Listed list() const {
    RunIndex index(file_);
    std::vector<RunFolder> runs = find_run_folders(dir_ / "runs", index);
    std::sort(runs.begin(), runs.end(),
              [](const RunFolder& a, const RunFolder& b) { return a.path < b.path; });
    return {runs, index.hits()};
  }
  static void expect_same(const RunFolder& a, const RunFolder& b) {
    EXPECT_EQ(a.path, b.path);
    EXPECT_EQ(a.name, b.name);
    EXPECT_EQ(a.status, b.status);
    EXPECT_EQ(a.options, b.options);
    EXPECT_EQ(std::tie(a.step, a.total_steps, a.tokens, a.tokens_per_second, a.elapsed, a.train_loss,
                       a.best_metric, a.best_step),
              std::tie(b.step, b.total_steps, b.tokens, b.tokens_per_second, b.elapsed, b.train_loss,
                       b.best_metric, b.best_step));
    EXPECT_EQ(a.changed, b.changed);
    ASSERT_EQ(a.points.size(), b.points.size());
    for (size_t i = 0; i < a.points.size(); ++i) {
      const RunPoint &p = a.points[i], &q = b.points[i];
      EXPECT_EQ(std::tie(p.step, p.loss, p.learning_rate, p.grad_norm, p.eval_loss),
                std::tie(q.step, q.loss, q.learning_rate, q.grad_norm, q.eval_loss));
    }
  }
  void expect_folders_say_it(const Listed& listed) const {
    for (const RunFolder& run : listed.runs) expect_same(run, read_run_folder(run.path));
  }

  test::TempDir dir_;
  fs::path file_ = dir_ / "cache/runs.sqlite";
};

TEST_F(RunIndexTest, GivesWhatTheFoldersSay) {
  Listed first = list(), second = list();
  EXPECT_EQ(first.hits, 0);
  EXPECT_EQ(second.hits, 2);
  ASSERT_EQ(second.runs.size(), 2u);
  expect_folders_say_it(first);
  expect_folders_say_it(second);
  EXPECT_EQ(second.runs[0].name, "räte");
}

TEST_F(RunIndexTest, ReadsAnewWhatChangedAndForgetsWhatIsGone) {
  list();
  write("a", 0.125);
  fs::remove_all(dir_ / "runs/group");
  Listed after = list();
  EXPECT_EQ(after.hits, 0);
  ASSERT_EQ(after.runs.size(), 1u);
  EXPECT_EQ(after.runs[0].last_loss(), 0.125);
  write("group/b", 0.25);
  EXPECT_EQ(list().hits, 1) << "b had been forgotten";
}

TEST_F(RunIndexTest, AResultThatComesLaterIsSeen) {
  list();
  test::write_text(dir_ / "runs/group/b/train_results.json", R"({"train_loss": 0.5})");
  Listed after = list();
  EXPECT_EQ(after.runs[1].status, RunFolder::Status::kFinished);
  EXPECT_EQ(after.hits, 1);
}

TEST_F(RunIndexTest, RebuildsADamagedFile) {
  list();
  for (const std::string& content : {std::string("not a database at all"), std::string(4096, '\x7f')}) {
    test::write_text(file_, content);
    Listed after = list();
    EXPECT_EQ(after.runs.size(), 2u);
    EXPECT_EQ(after.hits, 0);
    EXPECT_EQ(list().hits, 2);
  }
  std::string whole = test::read_text(file_);
  for (size_t at = 100; at < whole.size(); at += 257) {  // any byte, any page
    std::string damaged = whole;
    damaged[at] = static_cast<char>(damaged[at] ^ 0x55);
    test::write_text(file_, damaged);
    for (int look = 0; look < 3; ++look) EXPECT_EQ(list().runs.size(), 2u) << at;
    EXPECT_EQ(list().hits, 2) << "made anew where it was of no use: " << at;
  }
}

TEST_F(RunIndexTest, WorksWithoutAPlaceForIt) {
  test::write_text(dir_ / "occupied", "a file where the folder should be");
  for (const fs::path& file : {fs::path(), dir_ / "occupied/runs.sqlite", dir_.path()}) {
    RunIndex index(file);
    EXPECT_EQ(find_run_folders(dir_ / "runs", index).size(), 2u);
    EXPECT_EQ(index.hits(), 0);
  }
}

TEST_F(RunIndexTest, TwoReadersAtOnce) {
  RunIndex one(file_);
  EXPECT_EQ(find_run_folders(dir_ / "runs", one).size(), 2u);  // holds the lock until it is closed
  RunIndex other(file_);
  EXPECT_EQ(find_run_folders(dir_ / "runs", other).size(), 2u);
}

}  // namespace
}  // namespace fettle
