// Forms that LLaMA-Factory does not know, and what its forms take beyond it.
#include "fettle/data/forms/forms.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "fettle/base/error.h"
#include "support.h"

namespace fettle {
namespace {

using testing::HasSubstr;

DatasetEntry loose_entry() {
  test::TempDir dir;
  test::write_text(dir / "x.json", "[]");
  return find_dataset(dir.path(), "x.json");
}

/// "system|user: q|assistant: a", with * before turns that are not trained; or the reason of a BadRow after
/// "!".
std::string shape(const std::string& row, const DatasetEntry& entry = loose_entry()) {
  static const std::map<Role, std::string> names = {{Role::kUser, "user"},
                                                    {Role::kAssistant, "assistant"},
                                                    {Role::kObservation, "observation"},
                                                    {Role::kFunction, "function"}};
  Record record{parse_ordered_json(row, "row"), "row"};
  try {
    Conversation c = to_conversation(detect_form(entry, record), entry, record.value);
    std::string text = c.system + (c.tools.empty() ? "" : "(" + c.tools + ")");
    for (const Message& message : c.messages)
      text += (message.trained ? "|" : "|*") + names.at(message.role) + ": " + message.content;
    return text;
  } catch (const BadRow& bad) {
    return "!" + bad.reason;
  }
}

TEST(Forms, EmoLlm) {
  EXPECT_EQ(
      shape(R"({"conversation":[{"system":"s","input":"q","output":"a"},{"input":"q2","output":"a2"}]})"),
      "s|user: q|assistant: a|user: q2|assistant: a2");
  EXPECT_EQ(
      shape(
          R"({"conversation":[{"input":"q","output":"a","loss":false},{"system":"","input":"q","output":"a"}]})"),
      "|user: q|*assistant: a|user: q|assistant: a");
  EXPECT_EQ(
      shape(
          R"({"conversation":[{"system":"s","input":"q","output":"a"},{"system":"t","input":"q","output":"a"}]})"),
      "!the system prompt changes within the conversation");
}

TEST(Forms, Reasoning) {
  EXPECT_EQ(shape(R"({"Question":"q","Complex_CoT":"c","Response":"r"})"),
            "|user: q|assistant: <think>\nc\n</think>\n\nr");
  EXPECT_EQ(shape(R"({"Question":"q","Complex_CoT":"","Response":"r"})"), "|user: q|assistant: r");
}

TEST(Forms, PromptCompletion) {
  EXPECT_EQ(shape(R"({"prompt":"q","completion":"a"})"), "|user: q|assistant: a");
  EXPECT_EQ(
      shape(
          R"({"prompt":[{"role":"system","content":"s"},{"role":"user","content":"q"},{"role":"assistant","content":"a"},
                      {"role":"user","content":"q2"}],"completion":[{"role":"assistant","content":"a2"}]})"),
      "s|user: q|*assistant: a|user: q2|assistant: a2");
}

TEST(Forms, AlpacaWithoutRegistryReadsEverything) {
  EXPECT_EQ(shape(R"({"instruction":"i","input":"x","output":"o","system":"s","history":[["q","a"]]})"),
            "s|user: q|assistant: a|user: i\nx|assistant: o");
  EXPECT_EQ(shape(R"({"input":"x","output":"o"})"), "|user: x|assistant: o");
  EXPECT_EQ(shape(R"({"instruction":"i","output":"o","history":[["q"]]})"),
            "!\"history\" is not a list of [question, answer]");
  EXPECT_EQ(shape(R"({"instruction":5,"output":"o"})"), "!\"instruction\" is number, expected text");
}

TEST(Forms, TurnsAreToldByTheirKeys) {
  EXPECT_EQ(shape(R"({"conversations":[{"role":"user","content":"q"},{"role":"assistant","content":"a"}]})"),
            "|user: q|assistant: a");
  EXPECT_EQ(shape(R"({"messages":[{"from":"human","value":"q"},{"from":"gpt","value":"a"}]})"),
            "|user: q|assistant: a");
  EXPECT_EQ(shape(R"({"conversation":[{"role":"user","content":"q"},{"role":"assistant","content":"a"}]})"),
            "|user: q|assistant: a");
}

TEST(Forms, Messages) {
  EXPECT_EQ(
      shape(
          R"({"messages":[{"role":"developer","content":"s"},{"role":"user","content":[{"type":"text","text":"a"},
                      {"type":"text","value":"b"}]},{"role":"assistant","reasoning_content":"t","content":"x","weight":0}]})"),
      "s|user: ab|*assistant: <think>\nt\n</think>\n\nx");
  EXPECT_EQ(
      shape(
          R"({"messages":[{"role":"user","content":"q"},{"role":"assistant","content":null,"tool_calls":[{"type":"function",
                      "function":{"name":"f","arguments":"{\"x\":1}"}}]},{"role":"tool","content":"1"},{"role":"tool","content":"2"},
                      {"role":"assistant","content":"a"}],"tools":{"name":"f"}})"),
      "([{\"name\":\"f\"}])|user: q|function: [{\"name\":\"f\",\"arguments\":{\"x\":1}}]|observation: "
      "1\n</tool_response>\n"
      "<tool_response>\n2|assistant: a");
  EXPECT_EQ(shape(R"({"messages":[{"role":"user","content":[{"type":"image_url"}]}]})"),
            "!a content part is \"image_url\"; only text can be trained on");
  EXPECT_EQ(shape(R"({"messages":[{"role":"user","content":"q"},{"role":"assistant","content":null}]})"),
            "!\"content\" of a message is missing");
  EXPECT_EQ(
      shape(
          R"({"messages":[{"role":"user","content":"q"},{"role":"assistant","content":"a","weight":0.5}]})"),
      "!\"weight\" is 0.5; a turn is trained (1) or not (0)");
  EXPECT_EQ(shape(R"({"messages":[]})"), "!no messages");
  EXPECT_EQ(shape(R"({"messages":"text"})"), "!\"messages\" is string, expected a list");
  EXPECT_EQ(shape(R"({"messages":[1]})"), "!a message is not an object");
  EXPECT_EQ(shape(R"({"messages":[{"role":"user","content":"q"}]})"), "!the last message has no answer");
  EXPECT_EQ(shape(R"({"messages":[{"role":"user","content":"q"},{"role":"narrator","content":"q"}]})"),
            "!role \"narrator\" is unknown");
}

TEST(Forms, UnknownFields) {
  for (const char* row : {R"({"question":"q"})", R"({})", R"([1])", "5", R"({"prompt":"p","chosen":"a"})"}) {
    Record record{parse_ordered_json(row, "row"), "x.jsonl:7"};
    try {
      detect_form(loose_entry(), record);
      ADD_FAILURE() << row;
    } catch (const Error& error) {
      EXPECT_THAT(error.what(), HasSubstr("x.jsonl:7"));
    }
  }
}

}  // namespace
}  // namespace fettle
