// fettle runs on folders that the program itself left, whole, killed and still going on.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "fettle/base/json.h"
#include "support.h"

namespace fettle {
namespace {

namespace fs = std::filesystem;
using test::ProcessResult;
using test::run_fettle;
using testing::HasSubstr;
using testing::Not;

class RunsCommand : public ::testing::Test {
 protected:
  void SetUp() override { ::setenv("XDG_CACHE_HOME", (dir_ / "cache").c_str(), 1); }
  void train(const std::string& name, std::vector<std::string> more, const std::string& failpoint = "",
             std::vector<std::string> environment = {}) {
    fs::path quickstart = test::source_dir() / "examples/quickstart";
    std::vector<std::string> words = {"train",
                                      "model_name_or_path=" + (quickstart / "base").string(),
                                      "dataset=counselling",
                                      "dataset_dir=" + (quickstart / "data").string(),
                                      "template=chatml",
                                      "max_samples=8",
                                      "cutoff_len=48",
                                      "max_steps=4",
                                      "logging_steps=1",
                                      "plot_loss=false",
                                      "threads=1",
                                      "output_dir=" + (dir_ / "saves" / name).string()};
    words.insert(words.end(), more.begin(), more.end());
    if (!failpoint.empty()) environment.push_back("FETTLE_FAILPOINT=" + failpoint);
    run_fettle(words, environment);
  }
  std::string folder(const std::string& name) const { return (dir_ / "saves" / name).string(); }
  test::TempDir dir_;
};

TEST_F(RunsCommand, ListsShowsComparesExportsAndRemoves) {
  train("fast", {"learning_rate=0.01", "lora_rank=8", "run_name=the fast one"});
  train("slow", {"learning_rate=0.0001", "lora_rank=2"});
  train("killed", {"save_steps=2"}, "step:3");

  ProcessResult list = run_fettle({"runs", "list", (dir_ / "saves").string(), "--json"});
  ASSERT_EQ(list.code, 0) << list.err;
  Json runs = parse_json(list.out, "list");
  ASSERT_EQ(runs.size(), 3u);
  EXPECT_EQ(runs[0]["name"], "killed") << "the newest first";
  EXPECT_EQ(runs[0]["status"], "interrupted");
  EXPECT_EQ(runs[2]["status"], "finished");
  EXPECT_EQ(runs[2]["step"], 4);
  EXPECT_THAT(run_fettle({"runs", "list", (dir_ / "saves").string()}).out, HasSubstr("the fast one"));

  ProcessResult show = run_fettle({"runs", "show", folder("fast")});
  EXPECT_THAT(show.out, HasSubstr("step 4 of 4"));
  EXPECT_THAT(show.out, HasSubstr("learning_rate"));
  EXPECT_THAT(run_fettle({"runs", "show", folder("killed")}).out, HasSubstr("resume_from_checkpoint=true"));

  std::string png = (dir_ / "curves.png").string();
  ProcessResult compare = run_fettle({"runs", "compare", folder("fast"), folder("slow"), "--png", png});
  ASSERT_EQ(compare.code, 0) << compare.err;
  EXPECT_THAT(compare.out, HasSubstr("lora_rank"));
  EXPECT_THAT(compare.out, Not(HasSubstr("cutoff_len"))) << "only what differs";
  EXPECT_EQ(test::read_text(png).substr(1, 3), "PNG");

  ProcessResult csv = run_fettle({"runs", "export", folder("fast")});
  EXPECT_THAT(csv.out, HasSubstr("\"the fast one\",4,"));
  EXPECT_EQ(std::count(csv.out.begin(), csv.out.end(), '\n'), 5);
  EXPECT_THAT(run_fettle({"runs", "tail", folder("slow")}).out, HasSubstr("step 4/4  loss"));

  EXPECT_EQ(run_fettle({"runs", "rm", folder("slow")}).code, 0);
  EXPECT_TRUE(fs::exists(folder("slow"))) << "not without --yes";
  EXPECT_EQ(run_fettle({"runs", "rm", "--yes", folder("slow")}).code, 0);
  EXPECT_FALSE(fs::exists(folder("slow")));
  EXPECT_EQ(run_fettle({"runs", "rm", "--yes", (dir_ / "saves").string()}).code, 3)
      << "a folder that is no run";
  EXPECT_TRUE(fs::exists(folder("fast")));
}

TEST_F(RunsCommand, GpusAreSampledWhereTheirDriverIs) {
  train("with", {}, "", {"LD_LIBRARY_PATH=" FETTLE_FAKE_NVML});
  EXPECT_EQ(read_json(dir_ / "saves/with/environment.json")["gpus"], Json({"First GPU", "Second GPU"}));
  const std::string log = test::read_text(dir_ / "saves/with/system_log.jsonl");
  const Json gpus = Json::parse(log.substr(0, log.find('\n')))["gpus"];
  ASSERT_EQ(gpus.size(), 2u);
  EXPECT_EQ(gpus[0]["percent"], 87);
  EXPECT_EQ(gpus[0]["used_bytes"], uint64_t{4} << 30);
  EXPECT_EQ(gpus[0]["total_bytes"], uint64_t{24} << 30);
  EXPECT_EQ(gpus[1]["percent"], 0) << "a device that does not tell its use";
  EXPECT_THAT(run_fettle({"runs", "show", folder("with")}).out, HasSubstr("Second GPU"));
}

TEST_F(RunsCommand, DamagedFilesDoNotEndTheList) {
  fs::create_directories(dir_ / "saves/odd");
  test::write_text(dir_ / "saves/odd/trainer_log.jsonl",
                   "{\"current_steps\": 1, \"total_steps\": 9, \"loss\": 2.5}\nnot "
                   "json\n[1]\n{\"current_steps\": \"x\"}\n{\"loss\":");
  test::write_text(dir_ / "saves/odd/trainer_state.json", "[");
  test::write_text(dir_ / "saves/odd/run_config.yaml", std::string("a\x1b[31m: b\n: \nlora_rank: 8\n"));
  ProcessResult list = run_fettle({"runs", "list", (dir_ / "saves").string(), "--json"});
  ASSERT_EQ(list.code, 0) << list.err;
  Json runs = parse_json(list.out, "list");
  ASSERT_EQ(runs.size(), 1u);
  EXPECT_EQ(runs[0]["loss"], 2.5);
  EXPECT_EQ(runs[0]["options"]["lora_rank"], "8");
  EXPECT_THAT(run_fettle({"runs", "show", folder("odd")}).out, Not(HasSubstr("\x1b")));
}

}  // namespace
}  // namespace fettle
