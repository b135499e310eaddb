#include "fettle/data/preview.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "fakes.h"
#include "fettle/data/stats.h"

namespace fettle {
namespace {

using testing::HasSubstr;

Example example_of(const std::string& prompt, const std::string& answer) {
  test::ByteTokenizer bytes;
  Example example;
  example.ids = bytes.encode(prompt + answer, false);
  example.labels = example.ids;
  std::fill_n(example.labels.begin(), prompt.size(), kIgnoreLabel);
  return example;
}

TEST(Preview, LearnedPartsAreMarked) {
  test::ByteTokenizer bytes;
  Example example = example_of("ask ", "答");
  EXPECT_EQ(preview_example(example, &bytes, false), "ask ⟦答⟧\n(7 tokens, 3 learned)");
  EXPECT_THAT(preview_example(example, &bytes, true), HasSubstr("\x1b[32m答\x1b[0m"));
  EXPECT_THAT(preview_example({{7, 8}, {kIgnoreLabel, 8}}, nullptr, false), HasSubstr("⟦8"));
}

TEST(Preview, TokenTable) {
  test::ByteTokenizer bytes;
  std::string table = token_table(example_of("a\n", "b"), &bytes);
  EXPECT_THAT(table, HasSubstr("position"));
  EXPECT_THAT(table, HasSubstr("\\n"));
  EXPECT_THAT(table, HasSubstr("yes"));
  std::string part = token_table(example_of("a\n", "b"), &bytes, 2, 100);
  EXPECT_THAT(part, testing::Not(HasSubstr("\\n")));
  EXPECT_THAT(token_table({{7}, {7}}, nullptr, -5, 99), HasSubstr("7"));
}

TEST(Stats, Counts) {
  Dataset data;
  for (int i = 0; i < 100; ++i)
    data.examples.push_back(example_of(std::string(static_cast<size_t>(i), 'q'), "a"));
  data.examples.push_back(data.examples[4]);
  data.rows_read = 103;
  data.dropped = 2;
  DatasetStats stats = dataset_stats(data, 10);
  EXPECT_EQ(stats.examples, 101);
  EXPECT_EQ(stats.tokens, 5050 + 5);
  EXPECT_EQ(stats.label_tokens, 101);
  EXPECT_EQ(stats.shortest, 1);
  EXPECT_EQ(stats.longest, 100);
  EXPECT_EQ(stats.median, 50);
  EXPECT_EQ(stats.duplicates, 1);
  int64_t binned = 0;
  for (const LengthBin& bin : stats.lengths) binned += bin.examples;
  EXPECT_EQ(binned, 101);
  std::string text = stats_text(stats, 60);
  EXPECT_THAT(text, HasSubstr("1 to 100, median 50"));
  EXPECT_THAT(text, HasSubstr("█"));
  EXPECT_EQ(overlap(data, data), 101);
  Dataset other;
  other.examples = {example_of("new", "x"), data.examples[7]};
  EXPECT_EQ(overlap(data, other), 1);
  EXPECT_EQ(dataset_stats(Dataset{}).lengths.size(), 0u);
  EXPECT_FALSE(stats_text(dataset_stats(Dataset{})).empty());
}

}  // namespace
}  // namespace fettle
