// fettle data, from the command line.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "fettle/base/json.h"
#include "support.h"

namespace fettle {
namespace {

using test::run_fettle;

std::string base_model() {
  return "model_name_or_path=" + (test::source_dir() / "examples/quickstart/base").string();
}

// Three rows of the medical form, one of them broken, one repeated, one with personal data.
std::string write_rows(const test::TempDir& folder) {
  std::string path = (folder / "rows.jsonl").string();
  std::string good = R"({"Question": "Why?", "Complex_CoT": "Think.", "Response": "Because."})";
  test::write_text(
      path,
      good + "\n" + R"({"Question": "Where?", "Complex_CoT": "Hm."})" + "\n" + good + "\n" +
          R"({"Question": "Call 13800138000 or a.b@example.org", "Complex_CoT": "x", "Response": "y"})" +
          "\n");
  return path;
}

TEST(DataCommand, PreviewShowsWhatIsTrained) {
  test::TempDir folder;
  auto result = run_fettle({"data", "preview", base_model(), "dataset=" + write_rows(folder),
                            "template=chatml", "--row", "1", "--tokens"});
  ASSERT_EQ(result.code, 0) << result.err;
  EXPECT_NE(result.out.find("rows.jsonl:1"), std::string::npos) << result.out;
  EXPECT_NE(result.out.find("⟦<think>"), std::string::npos) << result.out;
  EXPECT_NE(result.out.find("position"), std::string::npos) << result.out;
  result = run_fettle(
      {"data", "preview", base_model(), "dataset=" + write_rows(folder), "template=chatml", "--row", "9"});
  EXPECT_EQ(result.code, 2);
  EXPECT_NE(result.err.find("there are 3 examples"), std::string::npos) << result.err;
}

TEST(DataCommand, StatsCountTokensBrokenRowsAndPersonalData) {
  test::TempDir folder;
  std::string rows = "dataset=" + write_rows(folder), png = (folder / "lengths.png").string();
  auto result = run_fettle({"data", "stats", base_model(), rows, "template=chatml", "--json", "--png", png,
                            "--validation", (folder / "rows.jsonl").string()});
  ASSERT_EQ(result.code, 0) << result.err;
  Json json = parse_json(result.out, "stats");
  EXPECT_EQ(json["rows"], 4);
  EXPECT_EQ(json["examples"], 3);
  EXPECT_EQ(json["duplicates"], 1);
  EXPECT_EQ(json["dropped_rows"].size(), 1u);
  EXPECT_NE(json["dropped_rows"][0]["origin"].get<std::string>().find("rows.jsonl:2"), std::string::npos);
  EXPECT_EQ(json["personal_data"]["phone numbers"], 1);
  EXPECT_EQ(json["personal_data"]["e-mail addresses"], 1);
  EXPECT_EQ(json["validation"]["in_training"], 3);
  EXPECT_EQ(result.out.find("13800138000"), std::string::npos);
  EXPECT_EQ(test::read_text(png).substr(1, 3), "PNG");
  // Without a tokenizer there are still rows, turns and characters.
  result = run_fettle({"data", "stats", rows, "--json"});
  ASSERT_EQ(result.code, 0) << result.err;
  json = parse_json(result.out, "stats");
  EXPECT_EQ(json["turns"], 3);
  EXPECT_EQ(json["broken"], 1);
}

TEST(DataCommand, ConvertWritesAnotherFormOnce) {
  test::TempDir folder;
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

TEST(DataCommand, AnonymizeMasksAndReportsCountsOnly) {
  test::TempDir folder;
  std::string rows = write_rows(folder), out = (folder / "out.jsonl").string(),
              report = (folder / "report.json").string();
  auto result = run_fettle({"data", "anonymize", rows, out, "--report", report});
  ASSERT_EQ(result.code, 0) << result.err;
  std::string text = test::read_text(out);
  EXPECT_NE(text.find("Call [PHONE] or [EMAIL]"), std::string::npos) << text;
  EXPECT_EQ(read_json(report)["rows_with"], 1);
  EXPECT_EQ(test::read_text(report).find("example.org"), std::string::npos);
  EXPECT_EQ(run_fettle({"data", "anonymize", rows, rows, "--force"}).code, 2);
}

}  // namespace
}  // namespace fettle
