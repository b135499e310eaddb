#include "fettle/data/dataset_info.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "fettle/base/error.h"
#include "support.h"

namespace fettle {
namespace {

using test::TempDir;
using test::write_text;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Pair;

/// Looks up "x", whose entry is `info`, beside a file x.json.
DatasetEntry find(const std::string& info, const std::string& name = "x") {
  TempDir dir;
  write_text(dir / "x.json", "[{}]");
  write_text(dir / "dataset_info.json",
             "{\"x\": " + info + ", \"alpaca_zh_demo\": {\"file_name\": \"x.json\"}}");
  return find_dataset(dir.path(), name);
}

std::string error_of(const std::string& info, const std::string& name = "x") {
  try {
    find(info, name);
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

TEST(DatasetInfo, Defaults) {
  DatasetEntry entry = find(R"({"file_name": "x.json"})");
  EXPECT_TRUE(entry.registered);
  EXPECT_EQ(entry.formatting, "");
  EXPECT_EQ(entry.column("prompt"), "instruction");
  EXPECT_EQ(entry.column("system"), "");
  EXPECT_EQ(entry.tags.at("role_tag"), "from");
  EXPECT_FALSE(entry.num_samples || entry.slice);
}

TEST(DatasetInfo, NamingAColumnForgetsTheOthers) {
  DatasetEntry entry = find(R"({"file_name": "x.json", "columns": {"prompt": "q", "response": null}})");
  EXPECT_EQ(entry.formatting, "alpaca");
  EXPECT_THAT(entry.columns, ElementsAre(Pair("prompt", "q")));
}

TEST(DatasetInfo, TagsThatAreNotNamedStay) {
  DatasetEntry entry =
      find(R"({"file_name": "x.json", "formatting": "sharegpt", "tags": {"user_tag": "user"}})");
  EXPECT_EQ(entry.tags.at("user_tag"), "user");
  EXPECT_EQ(entry.tags.at("observation_tag"), "observation");
  EXPECT_EQ(find(R"({"file_name": "x.json", "formatting": "openai"})").tags.at("role_tag"), "role");
}

TEST(DatasetInfo, Slices) {
  auto rows = [](const std::string& split, int64_t count) {
    return find(R"({"file_name": "x.json", "split": "train[)" + split + "]\"}").slice->rows(count);
  };
  EXPECT_EQ(rows(":1500", 4000), std::make_pair(int64_t{0}, int64_t{1500}));
  EXPECT_EQ(rows(":1500", 40), std::make_pair(int64_t{0}, int64_t{40}));
  EXPECT_EQ(rows("-100:", 4000), std::make_pair(int64_t{3900}, int64_t{4000}));
  EXPECT_EQ(rows("10%:20%", 999), std::make_pair(int64_t{100}, int64_t{200}));
  EXPECT_EQ(rows("50%:", 5), std::make_pair(int64_t{2}, int64_t{5}));  // halves to even, as Python's round
  EXPECT_EQ(rows("-10%:", 50), std::make_pair(int64_t{45}, int64_t{50}));
  EXPECT_EQ(find("{}", "alpaca_zh_demo[5:10]").slice->rows(100), std::make_pair(int64_t{5}, int64_t{10}));
  for (const char* bad : {"1500", "a:b", "1:2:3", "10%:200", "0%:101%", ":99999999999999999999", ""})
    EXPECT_THROW(rows(bad, 10), Error) << bad;
  EXPECT_THAT(error_of(R"({"file_name": "x.json", "split": "test"})"), HasSubstr("one split, train"));
}

TEST(DatasetInfo, WhatIsRefused) {
  EXPECT_THAT(error_of(R"({"hf_hub_url": "a/b"})"), HasSubstr("nothing is downloaded"));
  EXPECT_THAT(error_of(R"({"file_name": "https://host/x.json"})"), HasSubstr("nothing is downloaded"));
  EXPECT_THAT(error_of(R"({"file_name": "../../etc/passwd"})"), HasSubstr("expected a path within"));
  EXPECT_THAT(error_of(R"({"file_name": "y.json"})"), HasSubstr("no such file"));
  EXPECT_THAT(error_of(R"({})"), HasSubstr("file_name is missing"));
  EXPECT_THAT(error_of(R"({"file_name": 1})"), HasSubstr("file_name is missing"));
  EXPECT_THAT(error_of(R"([])"), HasSubstr("expected an object"));
  EXPECT_THAT(error_of(R"({"file_name": "x.json", "prompt_pattern": 5})"),
              HasSubstr("prompt_pattern must be text"));
  EXPECT_THAT(error_of(R"({"file_name": "x.json", "formatting": "vicuna"})"),
              HasSubstr("expected alpaca, sharegpt or openai"));
  EXPECT_THAT(error_of(R"({"file_name": "x.json", "columns": {"promt": "q"}})"),
              HasSubstr("did you mean prompt"));
  EXPECT_THAT(error_of(R"({"file_name": "x.json", "columns": {"query": "q"}})"),
              HasSubstr("names no prompt"));
  EXPECT_THAT(error_of(R"({"file_name": "x.json", "formatting": "sharegpt", "columns": {"images": "i"}})"),
              HasSubstr("only text"));
  EXPECT_THAT(error_of(R"({"file_name": "x.json", "num_samples": 0})"), HasSubstr("num_samples is 0"));
  EXPECT_THAT(error_of("{}", "alpaca_zh_dmo"), HasSubstr("did you mean \"alpaca_zh_demo\""));
  EXPECT_THAT(error_of("{}", "hf://a/b"), HasSubstr("nothing is downloaded"));
}

TEST(DatasetInfo, KeysWithoutEffectAreNoted) {
  DatasetEntry entry =
      find(R"({"file_name": "x.json", "formating": "alpaca", "subset": "a", "split": "train"})");
  ASSERT_EQ(entry.notes.size(), 2u);
  EXPECT_THAT(entry.notes[0], HasSubstr("did you mean formatting"));
  EXPECT_THAT(entry.notes[1], HasSubstr("subset has no effect"));
}

TEST(DatasetInfo, FilesNeedNoRegistry) {
  TempDir dir;
  write_text(dir / "data.jsonl", "{}");
  EXPECT_FALSE(find_dataset("/nonexistent", (dir / "data.jsonl").string()).registered);
  EXPECT_EQ(find_dataset(dir.path(), "data.jsonl").column("system"), "system");
  EXPECT_EQ(find_dataset(dir.path(), "*.jsonl[:5]").slice->to, 5);
  EXPECT_THROW(find_dataset(dir.path(), "none"), Error);
  EXPECT_THROW(find_dataset(dir.path(), ""), Error);
}

}  // namespace
}  // namespace fettle
