// fettle data, from the command line.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "fettle/base/json.h"
#include "support.h"

namespace fettle::test {
namespace {

using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;
using testing::StartsWith;

std::string quickstart(const std::string& name) {
  return (source_dir() / "examples/quickstart" / name).string();
}

/// The quickstart's run, whose paths are relative to the root of the sources.
std::vector<std::string> run_words(const std::string& command) {
  return {"data", command, quickstart("counselling_lora.yaml"), "model_name_or_path=" + quickstart("base"),
          "dataset_dir=" + quickstart("data")};
}

TEST(DataPreview, ShowsARunsRowAsTrained) {
  std::vector<std::string> words = run_words("preview");
  words.insert(words.end(), {"--row", "3"});
  ProcessResult result = run_fettle(words);
  EXPECT_EQ(result.code, 0) << result.err;
  EXPECT_THAT(result.out, StartsWith("row 3  " + quickstart("data/counselling.json") + ":4  EmoLLM"));
  EXPECT_THAT(result.out, HasSubstr("<|im_start|>assistant\n⟦I hear you."));
  EXPECT_THAT(result.out, HasSubstr("(112 tokens, 75 learned)"));
  EXPECT_THAT(result.out, HasSubstr("position"));
  EXPECT_THAT(result.out, Not(HasSubstr("\x1b[")));

  words.insert(words.end(), {"cutoff_len=40", "--tokens", "0"});
  result = run_fettle(words);
  EXPECT_THAT(result.out, HasSubstr("cut: 72 of 112 tokens"));
  EXPECT_THAT(result.out, Not(HasSubstr("position")));

  words.insert(words.end(), {"--json", "--rows", "2"});
  result = run_fettle(words);
  std::string first = result.out.substr(0, result.out.find('\n'));
  auto json = nlohmann::json::parse(first);
  EXPECT_EQ(json["row"], 3);
  EXPECT_EQ(json["input_ids"].size(), 40u);
  EXPECT_EQ(json["labels"].size(), 40u);
  EXPECT_TRUE(json["truncated"]);
}

TEST(DataPreview, WithoutModelShowsText) {
  ProcessResult result = run_fettle({"data", "preview", quickstart("data/reasoning.json"), "--rows", "2"});
  EXPECT_EQ(result.code, 0) << result.err;
  EXPECT_THAT(result.out, HasSubstr("user: "));
  EXPECT_THAT(result.out, HasSubstr("\n\nrow 2  "));
  EXPECT_THAT(result.err, HasSubstr("--model DIR"));
}

TEST(DataPreview, ColoursOnATerminal) {
  // script(1) gives the program a terminal.
  if (!std::filesystem::exists("/usr/bin/script")) GTEST_SKIP() << "no script(1)";
  std::string line = fettle_binary().string();
  for (const std::string& word : run_words("preview")) line += " " + word;
  ProcessResult result =
      run_program("/usr/bin/script", {"-qec", line, "/dev/null"}, {"TERM=xterm", "NO_COLOR="});
  EXPECT_THAT(result.out, HasSubstr("\x1b[32m"));
  EXPECT_THAT(result.out, Not(HasSubstr("⟦")));
}

TEST(DataPreview, Errors) {
  EXPECT_EQ(run_fettle({"data"}).code, 2);
  EXPECT_THAT(run_fettle({"data", "preview"}).err, HasSubstr("name a data file, or a run.yaml"));
  EXPECT_EQ(run_fettle({"data", "preview"}).code, 2);
  ProcessResult result =
      run_fettle({"data", "preview", quickstart("data/reasoning.json"), "--template", "qwen"});
  EXPECT_EQ(result.code, 2);
  EXPECT_THAT(result.err, HasSubstr("add --model DIR"));
  result = run_fettle({"data", "preview", quickstart("data/reasoning.json"), "--row", "100000"});
  EXPECT_EQ(result.code, 2);
  EXPECT_THAT(result.err, HasSubstr("the data has fewer rows"));
  EXPECT_EQ(run_fettle({"data", "preview", quickstart("base/model.safetensors")}).code, 3);
  EXPECT_EQ(run_fettle({"data", "preview", "absent.jsonl"}).code, 2);
  EXPECT_EQ(run_fettle({"data", "preview", quickstart("data/reasoning.json"), "--row", "0"}).code, 2);
}

TEST(DataStats, OfARun) {
  TempDir dir;
  std::vector<std::string> words = run_words("stats");
  words.insert(words.end(), {"--png", (dir / "lengths.png").string(), "--validation", "counselling[:10]"});
  ProcessResult result = run_fettle(words);
  EXPECT_EQ(result.code, 0) << result.err;
  EXPECT_THAT(result.out, HasSubstr("Length in tokens"));
  EXPECT_THAT(result.out, HasSubstr("10 rows are in the training data too (100.0%)"));
  EXPECT_THAT(read_text(dir / "lengths.png"), StartsWith("\x89PNG"));
}

TEST(DataStats, JsonForScripts) {
  TempDir dir;
  write_text(dir / "x.jsonl",
             "{\"instruction\":\"mail a@example.com\",\"output\":\"ok\"}\n{broken\n"
             "{\"instruction\":\"mail a@example.com\",\"output\":\"ok\"}\n");
  ProcessResult result = run_fettle({"data", "stats", (dir / "x.jsonl").string(), "--json"});
  EXPECT_EQ(result.code, 0) << result.err;
  EXPECT_THAT(result.out, Not(HasSubstr("a@example.com")));
  auto json = nlohmann::json::parse(result.out);
  EXPECT_EQ(json["unit"], "characters");
  EXPECT_EQ(json["rows"], 3);
  EXPECT_EQ(json["unusable"]["first"][0], (dir / "x.jsonl").string() + ":2");
  EXPECT_EQ(json["duplicates"]["rows"], 1);
  EXPECT_EQ(json["personal_data"]["email"]["rows"], 2);
  EXPECT_THAT(run_fettle({"-q", "data", "stats", (dir / "x.jsonl").string()}).err, IsEmpty());
}

// Three rows of the medical form, one of them broken, one repeated, one with personal data.
std::string write_rows(const TempDir& folder) {
  std::string path = (folder / "rows.jsonl").string();
  std::string good = R"({"Question": "Why?", "Complex_CoT": "Think.", "Response": "Because."})";
  write_text(
      path,
      good + "\n" + R"({"Question": "Where?", "Complex_CoT": "Hm."})" + "\n" + good + "\n" +
          R"({"Question": "Call 13800138000 or a.b@example.org", "Complex_CoT": "x", "Response": "y"})" +
          "\n");
  return path;
}

TEST(DataConvert, WritesAnotherFormOnce) {
  TempDir folder;
  std::string rows = write_rows(folder), out = (folder / "out.json").string();
  auto result =
      run_fettle({"data", "convert", rows, out, "--to", "sharegpt", "--system", "You are a doctor."});
  ASSERT_EQ(result.code, 0) << result.err;
  Json json = read_json(out);
  ASSERT_EQ(json.size(), 3u);
  EXPECT_EQ(json[0]["system"], "You are a doctor.");
  EXPECT_EQ(json[0]["conversations"][0]["value"], "Why?");
  EXPECT_NE(json[0]["conversations"][1]["value"].get<std::string>().find("<think>"), std::string::npos);
  EXPECT_EQ(run_fettle({"data", "convert", rows, out, "--to", "sharegpt"}).code, 2);
  EXPECT_EQ(run_fettle({"data", "convert", rows, out, "--to", "nonsense", "--force"}).code, 2);
}

TEST(DataAnonymize, MasksAndReportsCountsOnly) {
  TempDir folder;
  std::string rows = write_rows(folder), out = (folder / "out.jsonl").string(),
              report = (folder / "report.json").string();
  auto result = run_fettle({"data", "anonymize", rows, out, "--report", report});
  ASSERT_EQ(result.code, 0) << result.err;
  std::string text = read_text(out);
  EXPECT_NE(text.find("Call [PHONE] or [EMAIL]"), std::string::npos) << text;
  EXPECT_EQ(read_json(report)["rows_with"], 1);
  EXPECT_EQ(read_text(report).find("example.org"), std::string::npos);
  EXPECT_EQ(run_fettle({"data", "anonymize", rows, rows, "--force"}).code, 2);
}

}  // namespace
}  // namespace fettle::test
