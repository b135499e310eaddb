// Preference pairs and labelled texts as encoded rows: in memory, in kept files, and as a preview sees them.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "fakes.h"
#include "fettle/base/error.h"
#include "fettle/data/dataset.h"
#include "fettle/data/stats.h"
#include "support.h"

namespace fettle {
namespace {

using test::TempDir;
using test::write_text;
using testing::ElementsAre;
using testing::HasSubstr;

DatasetRequest request_for(const std::filesystem::path& file, const std::string& stage) {
  DatasetRequest request;
  request.datasets = {file.string()};
  request.tokenizer = std::make_shared<test::ByteTokenizer>();
  request.chat = std::make_shared<test::PlainTemplate>();
  request.vocab_size = 266;
  request.stage = stage;
  return request;
}

std::string error_of(const DatasetRequest& request) {
  try {
    load_dataset(request);
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

std::string text_of(const Example& example) {
  return test::ByteTokenizer().decode(example.ids, false);
}

std::string learned(const Example& example) {
  std::string text;
  for (int32_t label : example.labels)
    if (label >= 0) text += test::ByteTokenizer().decode({&label, 1}, false);
  return text;
}

constexpr const char* kPairs =
    R"({"instruction":"q","history":[["h","a"]],"chosen":"good","rejected":"bad"}
{"conversations":[{"from":"system","value":"S"},{"from":"human","value":"q2"}],"chosen":{"from":"gpt","value":"yes"},"rejected":{"from":"gpt","value":"no"}}
{"prompt":"q3","chosen":[{"role":"user","content":"q3"},{"role":"assistant","content":"a"}],"rejected":"b"}
{"prompt":"q4","chosen":"x","rejected":"y"}
)";

TEST(PreferencePairs, AreTwoSamplesOfARow) {
  TempDir dir;
  write_text(dir / "x.jsonl", kPairs);
  for (const char* stage : {"rm", "dpo"}) {
    Dataset data = load_dataset(request_for(dir / "x.jsonl", stage));
    ASSERT_EQ(data.examples.size(), 3u);
    std::vector<Example> sides = data.examples[0].samples();
    ASSERT_EQ(sides.size(), 2u);
    EXPECT_EQ(text_of(sides[0]), "h>a</s>q>good</s>");
    EXPECT_EQ(learned(sides[0]), "good</s>") << "earlier answers are not learned";
    EXPECT_EQ(text_of(sides[1]), "h>a</s>q>bad</s>");
    EXPECT_EQ(learned(sides[1]), "bad</s>");
    EXPECT_EQ(text_of(data.examples[1].samples()[1]), "[S]q2>no</s>");
    ASSERT_EQ(data.dropped_rows.size(), 1u) << "the question stands twice";
    EXPECT_THAT(data.examples.origin(1), HasSubstr("packed"));
  }
}

TEST(PreferencePairs, AreKeptInFiles) {
  TempDir dir;
  write_text(dir / "x.jsonl", kPairs);
  DatasetRequest request = request_for(dir / "x.jsonl", "dpo");
  Dataset memory = load_dataset(request);
  request.files = dir / "kept";
  request.keep_files = true;
  load_dataset(request);
  Dataset again = load_dataset(request);
  ASSERT_EQ(again.examples.size(), memory.examples.size());
  for (size_t i = 0; i < memory.examples.size(); ++i) {
    EXPECT_EQ(again.examples[i].ids, memory.examples[i].ids);
    EXPECT_EQ(again.examples[i].labels, memory.examples[i].labels);
    EXPECT_EQ(again.examples[i].lengths, memory.examples[i].lengths);
  }
  request.stage = "rm";
  EXPECT_THAT(error_of(request), HasSubstr("another stage"));
}

TEST(PreferencePairs, NeedTheirStageAndItsRows) {
  TempDir dir;
  write_text(dir / "x.jsonl", kPairs);
  EXPECT_THAT(error_of(request_for(dir / "x.jsonl", "sft")), HasSubstr("--to sharegpt"));
  write_text(dir / "y.jsonl", R"({"instruction":"q","output":"a"})");
  EXPECT_THAT(error_of(request_for(dir / "y.jsonl", "dpo")), HasSubstr("a chosen and a rejected answer"));
  write_text(
      dir / "z.jsonl",
      R"({"chosen_messages":[{"role":"user","content":"a"},{"role":"assistant","content":"b"}],)"
      R"("rejected_messages":[{"role":"user","content":"other"},{"role":"assistant","content":"c"}]})");
  EXPECT_THAT(error_of(request_for(dir / "z.jsonl", "dpo")), HasSubstr("different questions"));
}

TEST(PreferencePairs, ColumnsMayHaveOtherNames) {
  TempDir dir;
  write_text(
      dir / "dataset_info.json",
      R"({"x":{"file_name":"x.json","ranking":true,"columns":{"prompt":"ask","chosen":"good","rejected":"bad"}}})");
  write_text(dir / "x.json", R"([{"ask":"q","good":"a","bad":"b"}])");
  DatasetRequest request = request_for("x", "dpo");
  request.dataset_dir = dir.path();
  Example row = load_dataset(request).examples[0];
  EXPECT_EQ(text_of(row), "q>a</s>q>b</s>");
  EXPECT_THAT(row.lengths, ElementsAre(4, 4));
}

TEST(PreferencePairs, APreviewShowsBothSides) {
  TempDir dir;
  write_text(dir / "x.jsonl",
             R"({"instruction":"a long question","chosen":"yes","rejected":"certainly not"})");
  DatasetRequest request = request_for(dir / "x.jsonl", "sft");
  request.cutoff_len = 20;
  StatsCollector collector(request);
  std::vector<std::string> notes = inspect_dataset(
      request, [](int64_t) { return true; },
      [&](Record&& record, InspectedRow&& row) {
        std::vector<Example> sides = row.example.samples();
        ASSERT_EQ(sides.size(), 2u);
        // split_budget(16, 14, 20): 11 of the question, 9 of the answers.
        EXPECT_EQ(text_of(sides[0]), "a long quesyes</s>");
        EXPECT_EQ(text_of(sides[1]), "a long quescertainly");
        EXPECT_TRUE(row.truncated);
        EXPECT_EQ(row.whole.samples()[1].ids.size(), 30u);
        collector.add(std::move(record), row);
      });
  ASSERT_EQ(notes.size(), 1u);
  EXPECT_THAT(notes[0], HasSubstr("pairs that stages rm and dpo"));
  DatasetStats stats = collector.stats();
  EXPECT_EQ(stats.longest, 30) << "the longer side counts";
  EXPECT_EQ(stats.kept, 20);
  EXPECT_EQ(stats.trained, 9);
}

TEST(LabelledTexts, NamesAreNumberedInOrder) {
  TempDir dir;
  write_text(dir / "x.jsonl",
             R"({"text":"great","label":"positive"}
{"text":"awful","label":"negative"}
{"text":"so so","label":"neutral"}
{"text":"odd","label":3}
)");
  DatasetRequest request = request_for(dir / "x.jsonl", "classification");
  request.files = dir / "kept";
  request.keep_files = true;
  for (bool again : {false, true}) {
    Dataset data = load_dataset(request);
    EXPECT_THAT(data.label_names, ElementsAre("negative", "neutral", "positive")) << again;
    ASSERT_EQ(data.examples.size(), 3u);
    EXPECT_EQ(text_of(data.examples[0]), "great");
    EXPECT_THAT(data.examples[0].labels, ElementsAre(-100, -100, -100, -100, 2));
    EXPECT_EQ(data.examples[2].labels.back(), 1);
    ASSERT_EQ(data.dropped_rows.size(), 1u);
    EXPECT_THAT(data.dropped_rows[0].reason, HasSubstr("is 3, while labels of other rows are names"));
  }
}

TEST(LabelledTexts, NumbersStayAsTheyAre) {
  TempDir dir;
  write_text(dir / "x.csv", "sentence,label\nyes,1\nno,0\n");
  write_text(
      dir / "x.jsonl",
      "{\"text\":\"yes\",\"label\":true}\n{\"text\":\"no\",\"label\":7}\n{\"text\":\"?\",\"label\":0.5}");
  DatasetRequest request = request_for(dir / "x.jsonl", "classification");
  Dataset data = load_dataset(request);
  EXPECT_TRUE(data.label_names.empty());
  ASSERT_EQ(data.examples.size(), 2u);
  EXPECT_EQ(data.examples[0].labels.back(), 1);
  EXPECT_EQ(data.examples[1].labels.back(), 7);
  EXPECT_THAT(data.dropped_rows.at(0).reason, HasSubstr("0.5"));
  EXPECT_THAT(error_of(request_for(dir / "x.jsonl", "sft")), HasSubstr("does not train"));
}

}  // namespace
}  // namespace fettle
