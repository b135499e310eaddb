#include "fettle/data/convert.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "fettle/base/error.h"
#include "support.h"

namespace fettle {
namespace {

using test::TempDir;
using test::write_text;

/// Converts one row and gives the row written.
OrderedJson convert(const std::string& row, const std::string& form) {
  TempDir dir;
  write_text(dir / "in.jsonl", row);
  convert_dataset(dir.path(), "in.jsonl", parse_target_form(form), dir / "out.json");
  return parse_ordered_json(test::read_text(dir / "out.json"), "out")[0];
}

TEST(Convert, MedicalToShareGpt) {
  EXPECT_EQ(convert(R"({"Question":"q","Complex_CoT":"c","Response":"r"})", "sharegpt"),
            OrderedJson::parse(R"({"conversations":[{"from":"human","value":"q"},
                                  {"from":"gpt","value":"<think>\nc\n</think>\n\nr"}]})"));
}

TEST(Convert, EveryFormAndBack) {
  std::string row =
      R"({"conversation":[{"system":"s","input":"q","output":"a"},{"input":"q2","output":"a2"}]})";
  for (const char* form : {"alpaca", "sharegpt", "messages", "emollm"}) {
    OrderedJson written = convert(row, form);
    EXPECT_EQ(convert(written.dump(), "emollm"), OrderedJson::parse(row)) << form << written;
  }
  EXPECT_EQ(convert(R"({"instruction":"i","input":"x","output":"o"})", "prompt-completion"),
            OrderedJson::parse(R"({"prompt":"i\nx","completion":"o"})"));
}

TEST(Convert, ToolsAndFlags) {
  std::string row =
      R"({"messages":[{"role":"user","content":"q"},{"role":"assistant","content":null,"tool_calls":[{"type":"function",
    "function":{"name":"f","arguments":{"x":1}}}]},{"role":"tool","content":"1"},{"role":"assistant","content":"a","loss":false}],
    "tools":[{"name":"f"}]})";
  EXPECT_EQ(convert(convert(row, "sharegpt").dump(), "messages"), OrderedJson::parse(row));
  for (const char* form : {"alpaca", "emollm", "prompt-completion"})
    EXPECT_THROW(convert(row, form), Error) << form;
}

TEST(Convert, TheRegistryEntryReadsTheResult) {
  for (const char* form : {"alpaca", "sharegpt", "messages", "emollm"}) {
    TempDir dir;
    write_text(dir / "in.jsonl", R"({"conversation":[{"system":"s","input":"q","output":"a"}]})");
    ConvertReport report =
        convert_dataset(dir.path(), "in.jsonl", parse_target_form(form), dir / "out.jsonl");
    write_text(dir / "dataset_info.json", report.registry_entry);
    DatasetEntry entry = find_dataset(dir.path(), "out");
    Record record = read_records(entry.path)[0];
    Conversation c = to_conversation(detect_form(entry, record), entry, record.value);
    EXPECT_EQ(c.system, "s") << form;
    EXPECT_EQ(c.messages.size(), 2u);
    EXPECT_TRUE(unread_fields(detect_form(entry, record), entry, record.value).empty());
  }
}

TEST(Convert, RowsThatDoNotFit) {
  TempDir dir;
  write_text(dir / "in.jsonl", "{\"prompt\":\"q\",\"completion\":\"a\"}\n{\"prompt\":1}\n");
  ConvertReport report = convert_dataset(dir.path(), "in.jsonl", Form::kAlpaca, dir / "out.jsonl");
  EXPECT_EQ(report.read, 2);
  EXPECT_EQ(report.written, 1);
  EXPECT_EQ(report.dropped_rows.size(), 1u);
  EXPECT_THROW(convert_dataset(dir.path(), "in.jsonl", Form::kAlpaca, dir / "out.csv"), Error);
  EXPECT_THROW(convert_dataset(dir.path(), "in.jsonl", Form::kText, dir / "text.jsonl"), Error);
  EXPECT_FALSE(std::filesystem::exists(dir / "text.jsonl"));
  EXPECT_THROW(parse_target_form("sharegtp"), Error);
  write_text(dir / "plain.txt", "line\n");
  write_text(dir / "ids.jsonl", "{\"input_ids\":[1]}\n");
  for (const char* name : {"plain.txt", "ids.jsonl"})
    EXPECT_THROW(convert_dataset(dir.path(), name, Form::kAlpaca, dir / "x.json"), Error);
  EXPECT_THROW(convert_dataset(dir.path(), "in.jsonl", Form::kAlpaca, dir / "in.jsonl"), Error);
  EXPECT_EQ(test::read_text(dir / "in.jsonl").size(), 45u) << "untouched";
}

}  // namespace
}  // namespace fettle
