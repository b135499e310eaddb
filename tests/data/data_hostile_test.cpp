// Data files that nobody meant well, through the call that training makes. Numbers in comments are those of
// our list of hostile inputs.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "data/fakes.h"
#include "fettle/base/error.h"
#include "fettle/data/dataset.h"
#include "fettle/data/reader.h"
#include "fettle/data/record_writer.h"
#include "support.h"

namespace fettle {
namespace {

class HostileData : public ::testing::Test {
 protected:
  Dataset load(const std::string& name, const std::string& content) {
    test::write_text(folder_ / name, content);
    DatasetRequest request;
    request.datasets = {(folder_ / name).string()};
    request.dataset_dir = folder_.path();
    request.tokenizer = std::make_shared<test::ByteTokenizer>();
    request.chat = std::make_shared<test::PlainTemplate>();
    request.vocab_size = 266;
    return load_dataset(request);
  }
  std::string error_of(const std::string& name, const std::string& content) {
    try {
      load(name, content);
    } catch (const Error& error) {
      EXPECT_TRUE(error.code() == ExitCode::kBadInput || error.code() == ExitCode::kUsage) << error.what();
      return error.what();
    }
    return "no error";
  }
  test::TempDir folder_;
};

#define EXPECT_MENTIONS(text, part) EXPECT_NE((text).find(part), std::string::npos) << (text)

const std::string kGood = R"({"instruction": "q", "output": "a"})";

TEST_F(HostileData, RowsThatAreNoRows) {  // 98
  for (const char* bad : {R"({"instruction": "q"})", R"({"instruction": "q", "output": null})",
                          R"({"instruction": 5, "output": "a"})", "[1]", "null", "7"}) {
    Dataset data = load("x.jsonl", kGood + "\n" + kGood + "\n" + bad + "\n");
    EXPECT_EQ(data.examples.size(), 2u) << bad;
    ASSERT_EQ(data.dropped_rows.size(), 1u) << bad;
    EXPECT_MENTIONS(data.dropped_rows[0].origin, "x.jsonl:3");
  }
  for (const char* turns : {R"([])", R"([{"from": "gpt", "value": "a"}])",
                            R"([{"from": "human", "value": "q"}, {"from": "human", "value": "q"}])",
                            R"([{"from": "human", "value": null}, {"from": "gpt", "value": "a"}])"})
    EXPECT_MENTIONS(error_of("x.jsonl", std::string(R"({"conversations": )") + turns + "}\n"), "x.jsonl");
}

TEST_F(HostileData, TextsOfTheWrongKind) {  // 99
  EXPECT_MENTIONS(error_of("x.csv", "instruction,output\nq,\"open to the end\nmore\n"), "x.csv:2");
  EXPECT_MENTIONS(error_of("x.json", std::string("\xFF\xFE[\0", 4)), "UTF-16");
  EXPECT_MENTIONS(error_of("x.jsonl", "{\"instruction\": \"\xFF\", \"output\": \"a\"}\n"), "x.jsonl:1");
  EXPECT_EQ(load("x.csv", "\xEF\xBB\xBFinstruction,output\r\nq,a\nq,b\r\n").examples.size(), 2u);
  EXPECT_EQ(load("x.jsonl", "{\"instruction\": \"q\\u0000\", \"output\": \"a\"}\r\n").examples.size(), 1u);
}

TEST_F(HostileData, RaggedRows) {  // 100
  EXPECT_MENTIONS(error_of("x.csv", "instruction,output\nq,a\nq,a,more\n"), "x.csv:3");
  EXPECT_MENTIONS(error_of("x.csv", "instruction,output\nq\n"), "x.csv:2");
}

TEST_F(HostileData, JsonThatIsTooMuch) {  // 101
  EXPECT_MENTIONS(error_of("x.jsonl", R"({"instruction": )" + std::string(1'000'000, '[') + "\n"),
                  "x.jsonl:1");
  EXPECT_MENTIONS(error_of("x.jsonl", R"({"instruction": 1e999, "output": "a"})"), "x.jsonl:1");
  EXPECT_MENTIONS(error_of("x.jsonl", R"({"instruction": "q", "instruction": "r", "output": "a"})"),
                  "duplicate key");
  EXPECT_MENTIONS(error_of("x.jsonl", R"({"instruction": NaN, "output": "a"})"), "x.jsonl:1");
}

TEST_F(HostileData, TheLastLineIsCut) {  // 102
  EXPECT_MENTIONS(error_of("x.jsonl", kGood + "\n" + kGood.substr(0, 20)), "x.jsonl:2");
  EXPECT_MENTIONS(error_of("x.json", "[" + kGood + "," + kGood.substr(0, 20)), "x.json:1");
}

TEST_F(HostileData, PlacesElsewhere) {  // 103
  for (const char* name : {"../../etc/passwd", "https://host/x.json", "s3://bucket/x.json"}) {
    test::write_text(folder_ / "dataset_info.json", Json{{"d", {{"file_name", name}}}}.dump());
    EXPECT_THROW(find_dataset(folder_.path(), "d"), Error) << name;
  }
}

TEST_F(HostileData, FormulasStayText) {  // 104
  // Nothing here writes CSV; what is converted is JSON, where a formula is a text like any other.
  EXPECT_THROW(RecordWriter(folder_ / "out.csv"), Error);
  EXPECT_EQ(load("x.csv", "instruction,output\n=cmd|' /C calc'!A0,a\n").examples.size(), 1u);
}

TEST_F(HostileData, ParquetIsRefusedByName) {  // 105
  for (const char* name : {"x.parquet", "x.json", "x.csv"})
    EXPECT_MENTIONS(error_of(name, std::string("PAR1\0\0\0\0PAR1", 12)), "Parquet") << name;
}

TEST_F(HostileData, PackedFilesUnderOtherNames) {  // 106
  EXPECT_MENTIONS(error_of("x.json", "PK\x03\x04zip"), "zip");
  EXPECT_MENTIONS(error_of("x.jsonl", "\x1f\x8bgz"), "gzip");
  EXPECT_MENTIONS(error_of("x.jsonl", "\x28\xb5\x2f\xfdzs"), "zstd");
}

TEST_F(HostileData, NothingButEmptyRows) {  // 107
  std::string rows;
  for (int i = 0; i < 100'000; ++i) rows += "{\"instruction\": \"\", \"output\": \"\"}\n";
  std::string message = error_of("x.jsonl", rows);
  EXPECT_NE(message, "no error");
  EXPECT_MENTIONS(error_of("x.jsonl", std::string(1'000'000, '\n')), "x.jsonl");
}

}  // namespace
}  // namespace fettle
