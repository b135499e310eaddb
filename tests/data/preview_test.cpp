#include "fettle/data/preview.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "fakes.h"
#include "fettle/data/stats.h"
#include "support.h"

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
  std::string part = token_table(example_of("a\n", "b"), &bytes, {{2, 100}});
  EXPECT_THAT(part, testing::Not(HasSubstr("\\n")));
  EXPECT_THAT(token_table({{7}, {7}}, nullptr, {{-5, 99}}), HasSubstr("7"));
  std::string windows = token_table(example_of("abc", "def"), &bytes, {{0, 2}, {1, 2}, {4, 9}});
  EXPECT_EQ(std::count(windows.begin(), windows.end(), '\n'), 1 + 2 + 1 + 1 + 2) << windows;
}

TEST(Preview, ControlCharactersAreSpelled) {
  EXPECT_EQ(visible_text("\xC2\x9B"
                         "31m\xC2\xA0"),
            "\\u009b31m\xC2\xA0");
  EXPECT_EQ(visible_text("a\x1b[31m\tb\n\r答"), "a\\x1b[31m\tb\n\\x0d答");
}

DatasetRequest request_for(const std::filesystem::path& file, int64_t cutoff_len = 2048) {
  DatasetRequest request;
  request.datasets = {file.string()};
  request.tokenizer = std::make_shared<test::ByteTokenizer>();
  request.chat = std::make_shared<test::PlainTemplate>();
  request.vocab_size = 266;
  request.cutoff_len = cutoff_len;
  return request;
}

std::vector<InspectedRow> inspect(const DatasetRequest& request) {
  std::vector<InspectedRow> rows;
  inspect_dataset(
      request, [](int64_t) { return true; }, [&](Record&&, InspectedRow&& row) { rows.push_back(row); });
  return rows;
}

DatasetStats stats_of(const DatasetRequest& request, const StatsCollector* other = nullptr) {
  StatsCollector collector(request, other);
  inspect_dataset(
      request, [](int64_t) { return true; },
      [&](Record&& record, InspectedRow&& row) { collector.add(std::move(record), row); });
  return collector.stats();
}

TEST(Inspect, RowsAreThoseOfTraining) {
  test::TempDir dir;
  std::string text;
  for (int i = 0; i < 300; ++i)
    text += R"({"instruction":"question )" + std::to_string(i) + R"(","output":"answer"})" + "\n";
  test::write_text(dir / "x.jsonl", text);
  DatasetRequest request = request_for(dir / "x.jsonl", 16);
  Dataset trained = load_dataset(request);
  std::vector<InspectedRow> rows = inspect(request);
  ASSERT_EQ(rows.size(), trained.examples.size());
  for (size_t i = 0; i < rows.size(); ++i) {
    EXPECT_EQ(rows[i].example.ids, trained.examples[i].ids);
    EXPECT_EQ(rows[i].example.labels, trained.examples[i].labels);
    EXPECT_TRUE(rows[i].truncated);
    EXPECT_GT(rows[i].whole.ids.size(), 16u);
  }
  EXPECT_THAT(cut_text(rows[0], request.tokenizer.get()), HasSubstr("cut: 2 of 18 tokens"));
  std::vector<std::string> origins;
  inspect_dataset(
      request, [](int64_t row) { return row == 7 || row == 299; },
      [&](Record&& record, InspectedRow&&) { origins.push_back(record.origin); });
  EXPECT_THAT(origins,
              testing::ElementsAre((dir / "x.jsonl").string() + ":8", (dir / "x.jsonl").string() + ":300"));
}

TEST(Inspect, BrokenRowsAreHandedOut) {
  test::TempDir dir;
  test::write_text(
      dir / "x.jsonl",
      "{\"prompt\":\"q\",\"completion\":\"a\"}\n{\"prompt\":\"secret\n{\"prompt\":1,\"completion\":\"a\"}\n"
      "{\"prompt\":\"q\",\"completion\":\"b\"}\n");
  DatasetStats stats = stats_of(request_for(dir / "x.jsonl"));
  EXPECT_EQ(stats.rows, 4);
  EXPECT_EQ(stats.usable, 2);
  std::string file = (dir / "x.jsonl").string();
  EXPECT_THAT(stats.unusable.first, testing::ElementsAre(file + ":2", file + ":3"));
  EXPECT_THAT(stats_text(stats), HasSubstr(file + ":2: invalid JSON"));
  EXPECT_THAT(stats_text(stats), testing::Not(HasSubstr("secret")));
  EXPECT_THAT(stats_json(stats)["unusable"]["rows"], 2);
}

TEST(Inspect, AFirstLineThatIsBroken) {
  test::TempDir dir;
  test::write_text(dir / "x.jsonl", "{\"prompt\":\"q\",\n{\"prompt\":\"q\",\"completion\":\"a\"}\n");
  DatasetStats stats = stats_of(request_for(dir / "x.jsonl"));
  EXPECT_EQ(stats.usable, 1);
  EXPECT_THAT(stats.unusable.first, testing::ElementsAre((dir / "x.jsonl").string() + ":1"));
  // One record over several lines is still one.
  test::write_text(dir / "y.jsonl", "{\"prompt\":\"q\",\n\"completion\":\"a\"}\n");
  EXPECT_EQ(stats_of(request_for(dir / "y.jsonl")).usable, 1);
}

TEST(Stats, Counts) {
  test::TempDir dir;
  std::string text;
  auto row = [](int i, const std::string& more) {
    return R"({"prompt":")" + std::string(static_cast<size_t>(i), 'q') + R"(","completion":"a)" + more +
           "\"}\n";
  };
  for (int i = 0; i < 100; ++i) text += row(i, "");
  text += row(4, "") + row(5, " call 13800138000 or mail a@example.com, b@example.com");
  test::write_text(dir / "x.jsonl", text);
  DatasetRequest request = request_for(dir / "x.jsonl");
  DatasetStats stats = stats_of(request);
  EXPECT_EQ(stats.usable, 102);
  EXPECT_EQ(stats.shortest, 3) << "mark, answer and eos";
  EXPECT_EQ(stats.longest, 102);
  EXPECT_EQ(stats.median, 52);
  EXPECT_EQ(stats.rounds, 102);
  EXPECT_EQ(stats.trained, 101 * 2 + 56);
  EXPECT_THAT(stats.duplicates.first, testing::ElementsAre((dir / "x.jsonl").string() + ":101"));
  EXPECT_EQ(stats.personal_found[static_cast<size_t>(PersonalData::kEmail)], 2);
  EXPECT_EQ(stats.personal[static_cast<size_t>(PersonalData::kEmail)].rows, 1);
  EXPECT_EQ(stats.personal[static_cast<size_t>(PersonalData::kPhone)].rows, 1);
  int64_t binned = 0;
  for (const LengthBin& bin : stats.lengths) binned += bin.rows;
  EXPECT_EQ(binned, 102);
  for (const std::string& shown : {stats_text(stats), stats_json(stats).dump()}) {
    EXPECT_THAT(shown, testing::Not(HasSubstr("example.com")));
    EXPECT_THAT(shown, testing::Not(HasSubstr("138001")));
  }
  EXPECT_THAT(stats_text(stats, 60), HasSubstr("█"));

  request.cutoff_len = 50;
  stats = stats_of(request);
  EXPECT_EQ(stats.truncated, 53);
  EXPECT_GT(stats.length, stats.kept);

  request = request_for(dir / "x.jsonl");
  request.tokenizer = nullptr;
  request.chat = nullptr;
  stats = stats_of(request);
  EXPECT_FALSE(stats.in_tokens);
  EXPECT_EQ(stats.longest, 100);
  EXPECT_EQ(stats.trained, 101 + 55);
}

TEST(Stats, OverlapOfTwoSets) {
  test::TempDir dir;
  test::write_text(dir / "train.jsonl",
                   "{\"prompt\":\"q\",\"completion\":\"a\"}\n{\"prompt\":\"r\",\"completion\":\"a\"}\n");
  // The same said in another form.
  test::write_text(dir / "validation.jsonl",
                   "{\"instruction\":\"r\",\"output\":\"a\"}\n{\"instruction\":\"a\",\"output\":\"r\"}\n");
  StatsCollector training(request_for(dir / "train.jsonl"));
  inspect_dataset(
      request_for(dir / "train.jsonl"), [](int64_t) { return true; },
      [&](Record&& record, InspectedRow&& row) { training.add(std::move(record), row); });
  DatasetStats stats = stats_of(request_for(dir / "validation.jsonl"), &training);
  EXPECT_THAT(stats.overlap.first, testing::ElementsAre((dir / "validation.jsonl").string() + ":1"));
  EXPECT_THAT(stats_text(stats), HasSubstr("1 row also in the training data (50.0%)"));
}

TEST(Stats, BinsCoverWhatThereIs) {
  test::TempDir dir;
  std::string text;
  for (int i = 0; i < 200; ++i)
    text += R"({"prompt":")" + std::string(static_cast<size_t>(i == 0 ? 90000 : 500 + i % 10), 'q') +
            R"(","completion":"a"})" + "\n";
  test::write_text(dir / "x.jsonl", text);
  DatasetStats stats = stats_of(request_for(dir / "x.jsonl", 100000));
  ASSERT_GT(stats.lengths.size(), 5u);
  EXPECT_LE(stats.lengths.size(), 40u);
  EXPECT_LE(stats.lengths[0].from, 503);
  EXPECT_GT(stats.lengths[0].from, 400) << "no empty bins before the shortest";
  EXPECT_EQ(stats.lengths.back().to, 90004) << "the last one takes the longest";
  EXPECT_EQ(stats.lengths.back().rows, 1);
}

TEST(Stats, NothingUsable) {
  StatsCollector empty(request_for("x"));
  EXPECT_TRUE(empty.stats().lengths.empty());
  EXPECT_FALSE(stats_text(empty.stats()).empty());
}

}  // namespace
}  // namespace fettle
