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

TEST(DataHelp, NamesTheWords) {
  for (const char* command : {"preview", "stats"}) {
    ProcessResult help = run_fettle({"data", command, "--help"});
    EXPECT_EQ(help.code, 0);
    EXPECT_THAT(help.out,
                HasSubstr(std::string("Usage: fettle data ") + command + " [flags] [run.yaml | FILE …]"));
    EXPECT_THAT(help.out, HasSubstr("--cutoff_len N"));
  }
  EXPECT_THAT(run_fettle({"data", "--help"}).out, HasSubstr("anonymize"));
  EXPECT_THAT(run_fettle({"data", "convert", "--help"}).out,
              HasSubstr("Usage: fettle data convert [flags] IN OUT"));
  EXPECT_THAT(run_fettle({"completion", "bash"}).out, HasSubstr("preview stats convert anonymize"));
  ProcessResult near = run_fettle({"data", "stat"});
  EXPECT_THAT(near.err, HasSubstr("did you mean `fettle data stats`?"));
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
  result = run_fettle({"data", "stats", quickstart("data/reasoning.json"), "--model", "/absent"});
  EXPECT_EQ(result.code, 3);
  EXPECT_THAT(result.err, HasSubstr("/absent: no such model folder"));
  EXPECT_EQ(run_fettle({"data", "preview", quickstart("data/reasoning.json"), "--row", "0"}).code, 2);
}

TEST(DataStats, OfARun) {
  TempDir dir;
  std::vector<std::string> words = run_words("stats");
  words.insert(words.end(), {"--png", (dir / "lengths.png").string(), "--validation", "counselling[:10]"});
  ProcessResult result = run_fettle(words);
  EXPECT_EQ(result.code, 0) << result.err;
  EXPECT_THAT(result.out, HasSubstr("Length in tokens"));
  EXPECT_THAT(result.out, HasSubstr("10 rows also in the training data (100.0%)"));
  EXPECT_THAT(read_text(dir / "lengths.png"), StartsWith("\x89PNG"));
}

TEST(DataStats, TheRunsOwnValidationDataIsCompared) {
  std::vector<std::string> words = run_words("stats");
  words.insert(words.end(), {"eval_dataset=counselling[:5]", "--json"});
  ProcessResult result = run_fettle(words);
  EXPECT_EQ(result.code, 0) << result.err;
  EXPECT_EQ(nlohmann::json::parse(result.out)["validation"]["overlap"]["rows"], 5);
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

TEST(DataConvert, WhatCannotBeSaidIsLeftOutAndSaid) {
  TempDir dir;
  std::string in = (dir / "in.jsonl").string(), out = (dir / "out.jsonl").string();
  write_text(
      dir / "in.jsonl",
      R"({"conversations":[{"from":"human","value":"q"},{"from":"gpt","value":"a"}]})"
      "\n"
      R"({"conversations":[{"from":"human","value":"q"},{"from":"function_call","value":"{\"name\":\"f\",\"arguments\":{}}"},)"
      R"({"from":"observation","value":"1"},{"from":"gpt","value":"a"}]})"
      "\n");
  ProcessResult result = run_fettle({"data", "convert", in, out, "--to", "alpaca"});
  EXPECT_EQ(result.code, 0) << result.err;
  EXPECT_THAT(result.err, HasSubstr("1 of 2 rows written"));
  EXPECT_THAT(result.err, HasSubstr("in.jsonl:2: the alpaca form has no place for tools"));
  EXPECT_EQ(read_text(dir / "out.jsonl"), "{\"instruction\":\"q\",\"input\":\"\",\"output\":\"a\"}\n");
  EXPECT_THAT(result.out, HasSubstr("\"file_name\": \"out.jsonl\""));
  result = run_fettle({"data", "convert", in, out, "--to", "messages"});
  EXPECT_EQ(result.code, 2);
  EXPECT_THAT(result.err, HasSubstr("write --force to replace it"));
  EXPECT_EQ(run_fettle({"data", "convert", in, out, "--to", "messages", "--force"}).code, 0);
  EXPECT_THAT(read_text(dir / "out.jsonl"), HasSubstr("tool_calls"));
  write_text(dir / "plain.txt", "text\n");
  result = run_fettle({"data", "convert", (dir / "plain.txt").string(), out, "--to", "alpaca", "--force"});
  EXPECT_EQ(result.code, 3);
  EXPECT_THAT(result.err, HasSubstr("are no conversations"));
  EXPECT_THAT(read_text(dir / "out.jsonl"), HasSubstr("tool_calls")) << "untouched by what failed";
}

TEST(DataAnonymize, RulesAreListedAndCanBeLeftOut) {
  ProcessResult rules = run_fettle({"data", "anonymize", "--rules"});
  EXPECT_EQ(rules.code, 0);
  for (const char* word : {"email", "[PHONE]", "身份证号", "Luhn", "我叫", "my name is", "微信", "地址"})
    EXPECT_THAT(rules.out, HasSubstr(word));
  TempDir dir;
  std::string in = (dir / "in.csv").string(), out = (dir / "out.jsonl").string();
  write_text(dir / "in.csv", "instruction,output\n我叫李雷,打13800138000\n");
  ProcessResult result = run_fettle({"data", "anonymize", in, out, "--keep", "phone"});
  EXPECT_EQ(result.code, 0) << result.err;
  EXPECT_EQ(read_text(dir / "out.jsonl"), "{\"instruction\":\"我叫[NAME]\",\"output\":\"打13800138000\"}\n");
  EXPECT_THAT(result.out, Not(HasSubstr("李雷")));
  EXPECT_EQ(run_fettle({"data", "anonymize", in, out}).code, 2);
  result = run_fettle({"data", "anonymize", in, out, "--force", "--keep", "phones"});
  EXPECT_EQ(result.code, 2);
  EXPECT_THAT(result.err, HasSubstr("the rules are email, id, card"));
}

TEST(DataPreview, PreferenceRowsAreSaidNotToTrain) {
  TempDir dir;
  write_text(dir / "dpo.jsonl", "{\"prompt\":\"q\",\"chosen\":\"good\",\"rejected\":\"bad\"}\n");
  ProcessResult result = run_fettle({"data", "preview", (dir / "dpo.jsonl").string()});
  EXPECT_EQ(result.code, 0) << result.err;
  EXPECT_THAT(result.err, HasSubstr("which stage sft does not train"));
  EXPECT_THAT(result.out, HasSubstr("user: q\nchosen: good\nrejected: bad\n"));
}

TEST(DataAssets, ATemplateThatIsNotTheModelsIsNotedOnce) {
  FETTLE_REQUIRE_ASSETS();
  TempDir dir;
  write_text(dir / "x.jsonl",
             "{\"instruction\":\"q\",\"output\":\"a\"}\n{\"instruction\":\"r\",\"output\":\"b\"}\n");
  const std::string model = (assets_dir() / "tokenizers/qwen2.5").string(), file = (dir / "x.jsonl").string();
  ProcessResult result =
      run_fettle({"data", "preview", file, "--rows", "2", "--model", model, "--template", "llama3"});
  EXPECT_EQ(result.code, 0) << result.err;
  const std::string note = "the model's own chat template write";
  const size_t first = result.err.find(note);
  ASSERT_NE(first, std::string::npos) << result.err;
  EXPECT_EQ(result.err.find(note, first + 1), std::string::npos);
  result = run_fettle({"data", "preview", file, "--model", model, "--template", "qwen"});
  EXPECT_EQ(result.err.find(note), std::string::npos) << result.err;
}

TEST(DataAssets, TheMedicalConversionIsOneCommand) {
  FETTLE_REQUIRE_ASSETS();
  TempDir dir;
  std::string in = (assets_dir() / "data/medical/medical_o1_style_zh_sample.json").string(),
              out = (dir / "medical_sharegpt.json").string();
  ProcessResult result =
      run_fettle({"data", "convert", in, out, "--to", "sharegpt", "--system", "您是一位医学专家。"});
  ASSERT_EQ(result.code, 0) << result.err;
  EXPECT_THAT(result.err, HasSubstr("324 of 324 rows written"));
  Json rows = read_json(out), original = read_json(in);
  ASSERT_EQ(rows.size(), original.size());
  for (size_t i = 0; i < rows.size(); ++i) {
    EXPECT_EQ(rows[i]["conversations"][0]["value"], original[i]["Question"]);
    std::string answer = rows[i]["conversations"][1]["value"];
    EXPECT_THAT(answer, StartsWith("<think>\n" + original[i]["Complex_CoT"].get<std::string>()));
    EXPECT_TRUE(answer.ends_with(original[i]["Response"].get<std::string>()));
    EXPECT_EQ(rows[i]["system"], "您是一位医学专家。");
  }
}

TEST(DataAssets, StatsAndPreviewOfRealFiles) {
  FETTLE_REQUIRE_ASSETS();
  std::filesystem::path data = assets_dir() / "data";
  std::string model = (assets_dir() / "tokenizers/qwen2.5").string();
  for (const char* name :
       {"emollm/data.json", "llamafactory/alpaca_zh_demo.json", "llamafactory/c4_demo.jsonl",
        "llamafactory/glaive_toolcall_en_demo.json", "medical/medical_o1_style_zh_sample.json"}) {
    SCOPED_TRACE(name);
    ProcessResult result =
        run_fettle({"data", "stats", (data / name).string(), "-m", model, "-t", "qwen", "--json"});
    ASSERT_EQ(result.code, 0) << result.err;
    Json json = parse_json(result.out, name);
    EXPECT_EQ(json["unit"], "tokens");
    EXPECT_GT(json["usable"], 0);
    int64_t binned = 0;
    for (const Json& bin : json["histogram"]) binned += bin["rows"].get<int64_t>();
    EXPECT_EQ(binned, json["usable"]);
    result =
        run_fettle({"data", "preview", (data / name).string(), "-m", model, "-t", "qwen", "--row", "17"});
    EXPECT_EQ(result.code, 0) << result.err;
    EXPECT_THAT(result.out, StartsWith("row 17  "));
    EXPECT_THAT(result.out, HasSubstr("⟦"));
  }
}

}  // namespace
}  // namespace fettle::test
