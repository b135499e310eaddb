#include "fettle/data/dataset.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <numeric>
#include <set>

#include "fakes.h"
#include "fettle/base/error.h"
#include "fettle/base/threads.h"
#include "fettle/data/packing.h"
#include "support.h"

namespace fettle {
namespace {

using test::TempDir;
using test::write_text;
using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;

std::string row(const std::string& question, const std::string& answer) {
  return OrderedJson{{"instruction", question}, {"output", answer}}.dump() + "\n";
}

DatasetRequest request_for(const std::filesystem::path& file) {
  DatasetRequest request;
  request.datasets = {file.string()};
  request.tokenizer = std::make_shared<test::ByteTokenizer>();
  request.chat = std::make_shared<test::PlainTemplate>();
  request.vocab_size = 266;
  return request;
}

Dataset load(const std::string& text, const std::function<void(DatasetRequest&)>& change = {}) {
  TempDir dir;
  write_text(dir / "x.jsonl", text);
  DatasetRequest request = request_for(dir / "x.jsonl");
  if (change) change(request);
  return load_dataset(request);
}

std::string error_of(const std::string& text, const std::function<void(DatasetRequest&)>& change = {}) {
  try {
    load(text, change);
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

std::string text_of(const Example& example) {
  return test::ByteTokenizer().decode(example.ids, false);
}

/// The learned parts between brackets.
std::string learned(const Example& example) {
  std::string text;
  for (size_t i = 0; i < example.ids.size(); ++i)
    if (example.labels[i] >= 0) text += test::ByteTokenizer().decode({&example.labels[i], 1}, false);
  return text;
}

TEST(Dataset, AnswersAreLearned) {
  Dataset data = load(row("q", "a") + R"({"instruction":"i","output":"o","history":[["h1","h2"]]})",
                      [](DatasetRequest& r) { r.default_system = "S"; });
  ASSERT_EQ(data.examples.size(), 2u);
  EXPECT_EQ(text_of(data.examples[0]), "[S]q>a</s>");
  EXPECT_EQ(learned(data.examples[0]), "a</s>");
  EXPECT_EQ(learned(data.examples[1]), "h2</s>o</s>");
  EXPECT_THAT(data.examples.origin(1), HasSubstr("x.jsonl:2"));
  EXPECT_TRUE(data.notes.empty());
  auto last = [](DatasetRequest& r) { r.mask_history = true; };
  EXPECT_EQ(learned(load(R"({"instruction":"i","output":"o","history":[["h1","h2"]]})", last).examples[0]),
            "o</s>");
  EXPECT_EQ(learned(load(row("q", "a"), [](DatasetRequest& r) { r.train_on_prompt = true; }).examples[0]),
            "q>a</s>");
}

TEST(Dataset, RowsThatDoNotFitAreCounted) {
  Dataset data = load(row("q", "a") + "5\n{\"instruction\":\"q\"}\n" + row("q", "a") +
                      R"({"instruction":"{{name}}?","output":"a"})");
  EXPECT_EQ(data.examples.size(), 3u);
  EXPECT_EQ(data.rows_read, 5);
  EXPECT_EQ(data.dropped, 2);
  ASSERT_EQ(data.dropped_rows.size(), 2u);
  EXPECT_THAT(data.dropped_rows[1].origin, HasSubstr("x.jsonl:3"));
  EXPECT_THAT(data.notes, Contains(HasSubstr("2 of 5 rows dropped")));
  EXPECT_THAT(data.notes, Contains(HasSubstr("1 rows hold {{name}} or {{author}}")));
  EXPECT_THAT(error_of("{\"instruction\":1,\"output\":2}"), HasSubstr("none of the 1 rows can be used"));
}

TEST(Dataset, NothingToLearn) {
  std::string flagged =
      R"({"messages":[{"role":"user","content":"q"},{"role":"assistant","content":"a","loss":false}]})";
  EXPECT_THAT(error_of(flagged), HasSubstr("have nothing to learn"));
  Dataset data = load(flagged + "\n" +
                      R"({"messages":[{"role":"user","content":"q"},{"role":"assistant","content":"a"}]})");
  EXPECT_EQ(data.without_label, 1);
  EXPECT_THAT(error_of(row(std::string(100, 'q'), ""), [](DatasetRequest& r) { r.cutoff_len = 1; }),
              HasSubstr("Raise cutoff_len"));
}

TEST(Dataset, Truncation) {
  Dataset data = load(row(std::string(30, 'q'), "answer"), [](DatasetRequest& r) { r.cutoff_len = 20; });
  EXPECT_EQ(data.truncated, 1);
  EXPECT_EQ(text_of(data.examples[0]), std::string(13, 'q') + "answer</s>");
  EXPECT_THAT(data.notes, ElementsAre(HasSubstr("1 of 1 rows cut at cutoff_len 20")));
}

TEST(Dataset, OneEndIsKept) {
  auto with = [](Truncation truncation) {
    return [=](DatasetRequest& r) {
      r.cutoff_len = 8;
      r.truncation = truncation;
    };
  };
  std::string pair = row("abcde", "fghij");
  Dataset start = load(pair, with(Truncation::kStart)), end = load(pair, with(Truncation::kEnd));
  EXPECT_EQ(text_of(start.examples[0]), "abcde>fg");
  EXPECT_EQ(learned(start.examples[0]), "fg");
  EXPECT_EQ(text_of(end.examples[0]), "e>fghij</s>");
  EXPECT_EQ(learned(end.examples[0]), "fghij</s>");
  EXPECT_EQ(start.truncated + end.truncated, 2);
  EXPECT_EQ(load(R"({"input_ids":[1,2,3,4,5,6,7,8,9,10]})", with(Truncation::kEnd)).examples[0].ids,
            (std::vector<int32_t>{3, 4, 5, 6, 7, 8, 9, 10}));
  // What fits is the same whatever the mode.
  EXPECT_EQ(load(row("a", "b"), with(Truncation::kEnd)).truncated, 0);
}

TEST(Dataset, IdsAreOfTheModel) {
  EXPECT_THAT(error_of(row("q", "z"), [](DatasetRequest& r) { r.vocab_size = 100; }),
              HasSubstr("x.jsonl:1: token id 123"));
  EXPECT_THAT(error_of(R"({"input_ids":[1,300]})"), HasSubstr("x.jsonl:1: input_ids holds 300"));
  EXPECT_THAT(error_of(R"({"input_ids":[1,-1]})"), HasSubstr("input_ids holds -1"));
  EXPECT_THAT(error_of(R"({"input_ids":[1,1.5]})"), HasSubstr("holds 1.5"));
  EXPECT_THAT(error_of(R"({"input_ids":[1,99999999999999999999]})"), HasSubstr("x.jsonl:1"));
}

TEST(Dataset, RowsOfTokens) {
  auto bare = [](DatasetRequest& r) {
    r.chat = nullptr;
    r.tokenizer = nullptr;
    r.cutoff_len = 3;
  };
  Dataset data = load(R"({"input_ids":[1,2,3],"labels":[-100,2,3]}
{"input_ids":[4,5,6,7]}
{"input_ids":[4,5],"labels":[4]}
{"input_ids":[4,5],"labels":[4,-100]})",
                      bare);
  ASSERT_EQ(data.examples.size(), 2u);
  EXPECT_THAT(data.examples[0].labels, ElementsAre(-100, 2, 3));
  EXPECT_THAT(data.examples[1].labels, ElementsAre(4, 5, 6));
  EXPECT_EQ(data.truncated, 1);
  EXPECT_EQ(data.without_label, 1);
  EXPECT_EQ(data.dropped, 2);
}

TEST(Dataset, SelectionOfRows) {
  std::string text;
  for (int i = 0; i < 100; ++i) text += row("q", std::to_string(i));
  auto answers = [&](const std::string& entry, std::optional<int64_t> most = {}) {
    TempDir dir;
    write_text(dir / "x.jsonl", text);
    write_text(dir / "dataset_info.json", R"({"x":{"file_name":"x.jsonl")" + entry + "}}");
    DatasetRequest request = request_for("x");
    request.dataset_dir = dir.path();
    request.max_samples = most;
    std::vector<int> numbers;
    for (const Example& example : load_dataset(request).examples)
      numbers.push_back(std::stoi(learned(example)));
    return numbers;
  };
  EXPECT_THAT(answers("", 3), ElementsAre(0, 1, 2));
  EXPECT_THAT(answers(R"(,"split":"train[10:12]")"), ElementsAre(10, 11));
  EXPECT_THAT(answers(R"(,"split":"train[-3%:]")", 2), ElementsAre(97, 98));
  std::vector<int> chosen = answers(R"(,"num_samples":100)");
  EXPECT_EQ(chosen, answers(R"(,"num_samples":100)"));
  EXPECT_EQ(std::set<int>(chosen.begin(), chosen.end()).size(), 100u);
  EXPECT_NE(chosen[0] + chosen[1], 1);
  std::vector<int> more = answers(R"(,"num_samples":150,"split":"train[50:]")");
  EXPECT_EQ(more.size(), 150u);
  EXPECT_EQ(*std::min_element(more.begin(), more.end()), 50);
  EXPECT_EQ(answers(R"(,"num_samples":150)", 10).size(), 10u);
  EXPECT_THROW(answers(R"(,"split":"train[100:]")"), Error);
}

TEST(Dataset, OrderDoesNotDependOnThreads) {
  std::string text;
  for (int i = 0; i < 5000; ++i)
    text += i % 7 ? row(std::string(static_cast<size_t>(i % 50), 'q'), std::to_string(i)) : "{}\n";
  int threads = thread_count();
  auto ids = [&](int count) {
    set_thread_count(count);
    std::vector<std::vector<int32_t>> all;
    int64_t last = 0;
    Dataset data = load(row("q", "a") + text, [&](DatasetRequest& r) {
      r.progress = [&](int64_t done, int64_t) {
        EXPECT_GT(done, last);
        last = done;
      };
    });
    EXPECT_EQ(last, 5001);
    for (const Example example : data.examples) all.push_back(example.ids);
    return all;
  };
  EXPECT_EQ(ids(1), ids(4));
  set_thread_count(threads);
}

TEST(Dataset, UnreadFieldsAreNoted) {
  TempDir dir;
  write_text(dir / "x.json", R"([{"instruction":"i","output":"o","system":"s"}])");
  write_text(dir / "dataset_info.json", R"({"x":{"file_name":"x.json"}})");
  DatasetRequest request = request_for("x");
  request.dataset_dir = dir.path();
  Dataset data = load_dataset(request);
  EXPECT_EQ(text_of(data.examples[0]), "i>o</s>");
  EXPECT_THAT(data.notes, ElementsAre(HasSubstr("a field \"system\" that is not used")));
}

TEST(Dataset, PlainTextIsForPretraining) {
  EXPECT_THAT(error_of("{\"text\":\"x\"}"), HasSubstr("set stage: pt"));
  EXPECT_THAT(error_of("{\"text\":\"x\"}", [](DatasetRequest& r) { r.stage = "pt", r.tokenizer = nullptr; }),
              HasSubstr("tokenizer"));
  Dataset data = load("{\"text\":\"\"}\n{\"text\":\"one\"}\n", [](DatasetRequest& r) { r.stage = "pt"; });
  ASSERT_EQ(data.examples.size(), 1u);
  EXPECT_EQ(learned(data.examples[0]), "one</s>");
  EXPECT_EQ(data.dropped, 1);
}

TEST(Packing, LabelsAreShiftedWithinEachSequence) {
  std::vector<Example> examples = {{{1, 2, 3}, {kIgnoreLabel, 2, 3}}, {{4}, {4}}, {{5, 6}, {5, 6}}};
  PackedBatch batch = pack_examples(examples, std::vector<int64_t>{2, 0, 1});
  EXPECT_THAT(batch.ids, ElementsAre(5, 6, 1, 2, 3, 4));
  EXPECT_THAT(batch.labels, ElementsAre(6, -100, 2, 3, -100, -100));
  EXPECT_THAT(batch.positions, ElementsAre(0, 1, 0, 1, 2, 0));
  EXPECT_THAT(batch.cu_seqlens, ElementsAre(0, 2, 5, 6));
  EXPECT_EQ(batch.label_tokens(), 3);
}

TEST(Packing, TooLongStandsAlone) {
  EXPECT_EQ(best_fit_groups(std::vector<int64_t>{12, 3, 7}, 10),
            (std::vector<std::vector<int64_t>>{{0}, {2, 1}}));
}

}  // namespace
}  // namespace fettle
