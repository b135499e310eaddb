// Real data sets: every row is read, converted and encoded, or its fate is known.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "fakes.h"
#include "fettle/base/error.h"
#include "fettle/data/dataset.h"
#include "fettle/data/forms/fields.h"
#include "fettle/data/reader.h"
#include "support.h"

namespace fettle {
namespace {

Dataset load(const std::string& name, const std::string& stage = "sft") {
  DatasetRequest request;
  request.dataset_dir = test::assets_dir() / "data" / "llamafactory";
  request.datasets = {name.find('/') == name.npos ? name : (test::assets_dir() / "data" / name).string()};
  request.tokenizer = std::make_shared<test::ByteTokenizer>();
  request.chat = std::make_shared<test::PlainTemplate>();
  request.cutoff_len = 1 << 20;
  request.vocab_size = 266;
  request.stage = stage;
  return load_dataset(request);
}

TEST(Assets, EveryRowIsUsed) {
  FETTLE_REQUIRE_ASSETS();
  for (const auto& [name, rows] :
       std::map<std::string, size_t>{{"alpaca_en_demo", 666},
                                     {"alpaca_zh_demo", 667},
                                     {"identity", 91},
                                     {"glaive_toolcall_en_demo", 200},
                                     {"glaive_toolcall_zh_demo", 200},
                                     {"llamafactory/v1_sft_demo.jsonl", 334},
                                     {"llamafactory/reason_tool_use_demo_50.jsonl", 34},
                                     {"emollm/data.json", 1064},
                                     {"emollm/aiwei_sample.json", 200},
                                     {"emollm/self_cognition_EmoLLM.json", 85},
                                     {"emollm/ruozhiba_format_emo.jsonl", 240},
                                     {"medical/medical_o1_sft_en_sample.json", 132},
                                     {"medical/huatuo_o1_demo_en_allkeys.json", 132},
                                     {"medical/medical_o1_style_zh_sample.json", 324},
                                     {"medical/sft_r1_val_zh_raw.jsonl", 324},
                                     {"reasoning/gsm8k_deepseek_r1.jsonl", 189}}) {
    Dataset data = load(name);
    EXPECT_EQ(data.examples.size(), rows) << name;
    EXPECT_EQ(data.dropped, 0) << name << ": "
                               << (data.dropped_rows.empty() ? "" : data.dropped_rows[0].reason);
  }
}

TEST(Assets, PlainText) {
  FETTLE_REQUIRE_ASSETS();
  EXPECT_EQ(load("c4_demo", "pt").rows_read, 200);
  EXPECT_EQ(load("wiki_demo", "pt").rows_read, 20);
  EXPECT_EQ(load("llamafactory/c4_demo.jsonl", "pt").rows_read, 200);
  EXPECT_GT(load("lm/tiny_shakespeare.txt", "pt").rows_read, 30000);
}

TEST(Assets, WhatIsForOtherStages) {
  FETTLE_REQUIRE_ASSETS();
  for (const char* name :
       {"dpo_en_demo", "mllm_demo", "sentiment_zh/dev.tsv", "ner_zh_resume/dev.json",
        "qa_en/squad_sample.json", "translation/wmt16_en_ro_sample.json", "summarization/xsum_sample.json"})
    EXPECT_THROW(load(name), Error) << name;
}

// Answers that KTO data mark as bad are left out, for that reason and no other.
TEST(Assets, BadAnswersAreLeftOut) {
  FETTLE_REQUIRE_ASSETS();
  for (const char* name : {"kto_en_demo", "llamafactory/kto_en_demo.json"}) {
    Dataset data = load(name);
    EXPECT_EQ(data.examples.size(), 102u) << name;
    EXPECT_EQ(data.dropped, 98) << name;
    for (const DroppedRow& row : data.dropped_rows)
      EXPECT_THAT(row.reason, testing::HasSubstr("marked as a bad one")) << row.origin;
  }
}

// Both answers of every pair are read, in each layout; training on them is refused.
TEST(Assets, PreferencePairs) {
  FETTLE_REQUIRE_ASSETS();
  for (const auto& [name, rows] : std::map<std::string, size_t>{
           {"dpo_en_demo.json", 200}, {"dpo_zh_demo.json", 200}, {"v1_dpo_demo.jsonl", 7}}) {
    DatasetEntry entry = find_dataset(test::assets_dir() / "data" / "llamafactory", name);
    std::vector<Record> records = read_records(entry.path);
    EXPECT_EQ(records.size(), rows) << name;
    for (const Record& record : records) {
      ASSERT_EQ(detect_form(entry, record), Form::kPreference) << record.origin;
      EXPECT_NE(from_preference(entry, record.value, true).messages.back().content,
                from_preference(entry, record.value, false).messages.back().content)
          << record.origin;
    }
    EXPECT_THROW(load("llamafactory/" + name), Error) << name;
  }
}

TEST(Assets, PlaceholdersAreNoted) {
  FETTLE_REQUIRE_ASSETS();
  EXPECT_THAT(load("identity").notes, testing::Contains(testing::HasSubstr("{{name}}")));
}

}  // namespace
}  // namespace fettle
