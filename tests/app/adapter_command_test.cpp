// fettle adapter, and adapters by row in fettle generate, by the program itself.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "fettle/base/json.h"
#include "support.h"

namespace fettle {
namespace {

using test::ProcessResult;
using test::run_fettle;
using testing::HasSubstr;

std::string golden(const std::string& path) {
  return (test::golden_dir() / path).string();
}

class AdapterCommand : public ::testing::Test {
 protected:
  std::string out(const std::string& name) const { return (dir_ / name).string(); }
  test::TempDir dir_;
  const std::string base_ = golden("models/llama"), one_ = golden("combined/one"),
                    two_ = golden("combined/two");
};

TEST_F(AdapterCommand, InfoTellsMethodParametersAndSizes) {
  ProcessResult text = run_fettle({"adapter", "info", one_});
  ASSERT_EQ(text.code, 0) << text.err;
  EXPECT_THAT(text.out, HasSubstr("method      LORA"));
  EXPECT_THAT(text.out, HasSubstr("self_attn.q_proj.lora_A.weight"));
  EXPECT_THAT(text.out, HasSubstr("|s B A|"));
  ProcessResult json = run_fettle({"adapter", "info", golden("methods/llama/vera"), "--json"});
  ASSERT_EQ(json.code, 0) << json.err;
  Json info = parse_json(json.out, "info");
  EXPECT_EQ(info["peft_type"], "VERA");
  EXPECT_GT(info["parameters"].get<int64_t>(), 100);
  EXPECT_EQ(run_fettle({"adapter", "info", base_}).code, 3);
}

TEST_F(AdapterCommand, DiffFindsWhatIsDifferentAndSaysSoByItsStatus) {
  ProcessResult same = run_fettle({"adapter", "diff", one_, one_});
  EXPECT_EQ(same.code, 0) << same.err;
  EXPECT_THAT(same.out, HasSubstr("cosine 1.0000"));
  ProcessResult different = run_fettle({"adapter", "diff", one_, two_});
  EXPECT_EQ(different.code, 1);
  EXPECT_THAT(different.out, HasSubstr("lora_alpha"));
  EXPECT_THAT(different.out, HasSubstr("only in"));
}

TEST_F(AdapterCommand, MergedCombinedExtractedAndConvertedAdaptersAreTheSameChange) {
  ASSERT_EQ(run_fettle({"adapter", "merge", "--model", base_, "--adapter", one_, "--adapter-weight", "0.5",
                        "-o", out("merged")})
                .code,
            0);
  ASSERT_EQ(run_fettle({"adapter", "combine", one_, "-w", "0.5", "-o", out("half")}).code, 0);
  ASSERT_EQ(run_fettle({"adapter", "extract", "--model", base_, "--tuned", out("merged"), "-r", "4", "-o",
                        out("extracted")})
                .code,
            0);
  ASSERT_EQ(run_fettle({"adapter", "convert", out("extracted"), "--dtype", "bf16", "-o", out("small")}).code,
            0);
  ProcessResult diff = run_fettle({"adapter", "diff", out("half"), out("extracted")});
  EXPECT_THAT(diff.out, HasSubstr("cosine 1.0000"));
  ProcessResult rounded = run_fettle({"adapter", "diff", out("small"), out("extracted")});
  EXPECT_THAT(rounded.out, HasSubstr("cosine 1.0000"));
  EXPECT_LT(std::filesystem::file_size(dir_ / "small/adapter_model.safetensors"),
            std::filesystem::file_size(dir_ / "extracted/adapter_model.safetensors"));
  ProcessResult again = run_fettle({"adapter", "combine", one_, "-o", out("half")});
  EXPECT_EQ(again.code, 2) << "nothing is overwritten";
  EXPECT_EQ(run_fettle({"adapter", "combine", one_, two_, "-m", "blend", "-o", out("x")}).code, 2);
  EXPECT_EQ(run_fettle({"adapter"}).code, 2);
}

TEST_F(AdapterCommand, RowsOfAFileNameTheirAdapters) {
  std::string rows;
  for (const char* adapter : {"\"one\"", "\"two\"", "null", "[\"one\", \"two\"]"})
    rows += fmt::format("{{\"input_ids\": [5, 17, 9, 40, 3], \"adapter\": {}}}\n", adapter);
  test::write_text(dir_ / "rows.jsonl", rows);
  std::vector<std::string> words = {"generate",  "--model", base_, "--adapter", one_,
                                    "--adapter", two_,      "-n",  "8"};
  std::vector<std::string> batched = words;
  batched.insert(batched.end(), {"--file", out("rows.jsonl"), "--batch", "4"});
  ProcessResult mixed = run_fettle(batched);
  ASSERT_EQ(mixed.code, 0) << mixed.err;

  test::write_text(dir_ / "row.jsonl", "{\"input_ids\": [5, 17, 9, 40, 3]}\n");
  std::string alone;
  for (const std::vector<std::string>& adapters :
       std::vector<std::vector<std::string>>{{one_}, {two_}, {}, {one_, two_}}) {
    std::vector<std::string> single = {"generate", "--model", base_, "-n", "8", "--file", out("row.jsonl")};
    for (const std::string& adapter : adapters) single.insert(single.end(), {"--adapter", adapter});
    alone += run_fettle(single).out;
  }
  EXPECT_EQ(mixed.out, alone);

  test::write_text(dir_ / "rows.jsonl", "{\"input_ids\": [5], \"adapter\": \"three\"}\n");
  ProcessResult unknown = run_fettle(batched);
  EXPECT_EQ(unknown.code, 2);
  EXPECT_THAT(unknown.err, HasSubstr("no adapter named \"three\" is loaded; loaded: one, two"));
}

TEST_F(AdapterCommand, ChatSwitchesAdapters) {
  std::string base = (test::source_dir() / "examples/quickstart/base").string();
  ProcessResult chat = test::run_program(
      test::fettle_binary(), {"chat", "--model", base, "--template", "chatml", "--greedy", "-n", "4"}, {},
      "/adapter\n/load " + one_ + "\n/adapter none\n/exit\n");
  EXPECT_EQ(chat.code, 0) << chat.err;
  EXPECT_THAT(chat.err, HasSubstr("no adapter is loaded"));
  EXPECT_THAT(chat.err, HasSubstr("was the adapter trained on another base model?"))
      << "a mistake does not end the chat";
}

}  // namespace
}  // namespace fettle
