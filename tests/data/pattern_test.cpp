// Prompt patterns, preference pairs and labelled texts.
#include "fettle/data/forms/pattern.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "data/fakes.h"
#include "fettle/base/error.h"
#include "fettle/data/dataset.h"
#include "fettle/data/forms/forms.h"
#include "support.h"

namespace fettle {
namespace {

OrderedJson row(const char* text) {
  return OrderedJson::parse(text);
}

TEST(PromptPattern, FillsFieldsAndSplitsWhereTrainingBegins) {
  PromptPattern all("Q:{Question}\n### {{A}}:\n{Response}", "");
  PromptPattern::Filled filled = all.fill(row(R"({"Question": "why?", "Response": "因为。"})"));
  EXPECT_EQ(filled.read, "");
  EXPECT_EQ(filled.learned, "Q:why?\n### {A}:\n因为。");
  PromptPattern from("Q:{Question}\n### A:\n{Response}", "{Response}");
  filled = from.fill(row(R"({"Question": "why?", "Response": "because"})"));
  EXPECT_EQ(filled.read, "Q:why?\n### A:\n");
  EXPECT_EQ(filled.learned, "because");
  EXPECT_THROW(from.fill(row(R"({"Question": "why?"})")), BadRow);
}

TEST(PromptPattern, RefusesWhatItCannotRead) {
  for (const char* pattern : {"no field", "{", "}", "{}", "a {Question"})
    EXPECT_THROW(PromptPattern(pattern, ""), Error) << pattern;
  EXPECT_THROW(PromptPattern("{Question}", "Answer:"), Error);
}

TEST(PromptPattern, TrainsTheFilledTextAndEos) {
  test::TempDir folder;
  test::write_text(folder / "rows.jsonl",
                   "{\"Question\": \"a\", \"Response\": \"b\"}\n{\"Question\": \"a\"}\n");
  DatasetRequest request;
  request.datasets = {(folder / "rows.jsonl").string()};
  request.tokenizer = std::make_shared<test::ByteTokenizer>();
  request.vocab_size = 266;
  request.pattern = std::make_shared<PromptPattern>("{Question}>{Response}", "{Response}");
  Dataset data = load_dataset(request);
  ASSERT_EQ(data.examples.size(), 1u);
  EXPECT_EQ(data.dropped, 1);
  EXPECT_EQ(data.examples[0].ids, (std::vector<int32_t>{'a' + 10, '>' + 10, 'b' + 10, 2}));
  EXPECT_EQ(data.examples[0].labels, (std::vector<int32_t>{kIgnoreLabel, kIgnoreLabel, 'b' + 10, 2}));
}

DatasetEntry entry() {
  test::TempDir folder;
  test::write_text(folder / "x.json", "[]");
  return find_dataset(folder.path(), "x.json");
}

TEST(OtherForms, PreferencePairsInTheirLayouts) {
  DatasetEntry any = entry();
  for (
      const char* text :
      {R"({"conversations": [{"from": "human", "value": "q"}], "chosen": {"from": "gpt", "value": "good"}, "rejected": {"from": "gpt", "value": "bad"}})",
       R"({"instruction": "q", "input": "", "chosen": "good", "rejected": "bad"})",
       R"({"prompt": "q", "chosen": "good", "rejected": "bad"})",
       R"({"prompt": [{"role": "user", "content": "q"}], "chosen": [{"role": "assistant", "content": "good"}], "rejected": [{"role": "assistant", "content": "bad"}]})",
       R"({"chosen": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "good"}], "rejected": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "bad"}]})"}) {
    Record record{row(text), "x:1"};
    Form form = detect_form(any, record);
    ASSERT_EQ(form, Form::kPreference) << text;
    Conversation c = to_conversation(form, any, record.value);
    ASSERT_EQ(c.messages.size(), 2u) << text;
    EXPECT_EQ(c.messages[0].content, "q");
    EXPECT_EQ(c.messages[1].content, "good");
  }
}

TEST(OtherForms, LabelsAndMarkedAnswers) {
  DatasetEntry any = entry();
  Record labelled{row(R"({"text": "fine film", "label": 1})"), "x:1"};
  ASSERT_EQ(detect_form(any, labelled), Form::kLabelled);
  EXPECT_EQ(to_conversation(Form::kLabelled, any, labelled.value).messages[1].content, "1");
  OrderedJson bad = row(
      R"({"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}], "label": false})");
  EXPECT_THROW(to_conversation(Form::kMessages, any, bad), BadRow);
  bad["label"] = true;
  EXPECT_EQ(to_conversation(Form::kMessages, any, bad).messages.size(), 2u);
}

TEST(OtherForms, TrainingOnThemSaysWhatToDo) {
  test::TempDir folder;
  test::write_text(folder / "p.jsonl", R"({"prompt": "q", "chosen": "a", "rejected": "b"})");
  DatasetRequest request;
  request.datasets = {(folder / "p.jsonl").string()};
  request.tokenizer = std::make_shared<test::ByteTokenizer>();
  try {
    load_dataset(request);
    FAIL();
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("data convert"), std::string::npos) << error.what();
  }
}

}  // namespace
}  // namespace fettle
