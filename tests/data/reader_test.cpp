#include "fettle/data/reader.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <zlib.h>
#include <zstd.h>

#include <nlohmann/json.hpp>

#include "fettle/base/error.h"
#include "support.h"

namespace fettle {
namespace {

using test::TempDir;
using test::write_text;
using testing::HasSubstr;

std::vector<Record> read(const std::string& name, const std::string& text) {
  TempDir dir;
  write_text(dir / name, text);
  return read_records(dir / name);
}

std::string error_of(const std::string& name, const std::string& text) {
  try {
    read(name, text);
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::kBadInput);
    return error.what();
  }
  return "no error";
}

std::string gzip(const std::string& text) {
  z_stream stream{};
  deflateInit2(&stream, 9, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY);
  std::string out(deflateBound(&stream, text.size()) + 64, '\0');
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(text.data()));
  stream.avail_in = static_cast<uInt>(text.size());
  stream.next_out = reinterpret_cast<Bytef*>(out.data());
  stream.avail_out = static_cast<uInt>(out.size());
  deflate(&stream, Z_FINISH);
  out.resize(stream.total_out);
  deflateEnd(&stream);
  return out;
}

TEST(Reader, JsonFormsAreToldByContent) {
  for (const char* name : {"x.json", "x.jsonl"}) {
    for (const char* text : {"[{\"a\":1},{\"a\":2}]", " \n[\n {\"a\": 1},\n {\"a\": 2}\n]\n",
                             "{\"a\":1}\n{\"a\":2}\n", "\n{\"a\":1}\r\n\r\n{\"a\":2}",
                             "{\n \"a\": 1\n}\n{\n \"a\": 2\n}\n", "\xEF\xBB\xBF[{\"a\":1},{\"a\":2}]"}) {
      std::vector<Record> records = read(name, text);
      ASSERT_EQ(records.size(), 2u) << text;
      EXPECT_EQ(records[1].value["a"], 2);
    }
  }
  EXPECT_THAT(read("x.json", "[\n{\"a\":1},\n{\"a\":2}]")[1].origin, HasSubstr("x.json:3"));
  EXPECT_THAT(read("x.jsonl", "{}\n\n{}")[1].origin, HasSubstr("x.jsonl:3"));
}

TEST(Reader, OnlyNewlineEndsALine) {
  std::string line = "{\"a\":\"x\xE2\x80\xA8y\xC2\x85z\"}";
  std::vector<Record> records = read("x.jsonl", line + "\n" + line);
  ASSERT_EQ(records.size(), 2u);
  EXPECT_EQ(records[0].value["a"], "x\xE2\x80\xA8y\xC2\x85z");
}

TEST(Reader, RecordsAcrossPieces) {
  std::string array = "[", lines, comma = "n,text\n";
  std::vector<std::string> texts;
  for (int i = 0; i < 3000; ++i) {
    texts.push_back(std::string(static_cast<size_t>(i % 2000), static_cast<char>('a' + i % 26)) +
                    "\"\\[{]},\n," + std::to_string(i));
    std::string row = OrderedJson{{"text", texts.back()}}.dump();
    array += (i ? "," : "") + row;
    lines += row + "\n";
    std::string quoted = texts.back();
    for (size_t at = 0; (at = quoted.find('"', at)) != quoted.npos; at += 2) quoted.insert(at, 1, '"');
    comma += std::to_string(i) + ",\"" + quoted + "\"\n";
  }
  for (auto& [name, text] : std::map<std::string, std::string>{
           {"a.json", array + "]"}, {"b.jsonl", lines}, {"c.csv", comma}, {"d.jsonl.gz", gzip(lines)}}) {
    std::vector<Record> records = read(name, text);
    ASSERT_EQ(records.size(), texts.size()) << name;
    for (size_t i = 0; i < texts.size(); ++i) ASSERT_EQ(records[i].value["text"], texts[i]) << name << i;
  }
}

TEST(Reader, DamagedJson) {
  EXPECT_THAT(error_of("x.jsonl", "{\"a\":1}\n{\"a\":\n"), HasSubstr("x.jsonl:2: invalid JSON"));
  EXPECT_THAT(error_of("x.jsonl", "{\"a\":1}\n{\"a\":\"cut"), HasSubstr("x.jsonl:2"));
  EXPECT_THAT(error_of("x.jsonl", "{\"a\": 1e999}"), HasSubstr("x.jsonl:1"));
  EXPECT_THAT(error_of("x.jsonl", "{\"a\": NaN}"), HasSubstr("x.jsonl:1"));
  EXPECT_THAT(error_of("x.jsonl", "{\"a\":1,\"a\":2}"), HasSubstr("duplicate key \"a\""));
  EXPECT_THAT(error_of("x.jsonl", "{\"a\":\"\xff\"}"), HasSubstr("x.jsonl:1"));
  EXPECT_THAT(error_of("x.jsonl", std::string(1000000, '[')), HasSubstr("x.jsonl:1"));
  EXPECT_THAT(error_of("x.jsonl", "{\"a\":" + std::string(100000, '[') + std::string(100000, ']') + "}"),
              HasSubstr("nested deeper"));
  EXPECT_THAT(error_of("x.json", "[{\"a\":1}"), HasSubstr("is it cut?"));
  EXPECT_THAT(error_of("x.json", "[{\"a\":1},"), HasSubstr("is it cut?"));
  EXPECT_THAT(error_of("x.json", "[{\"a\":1}\n{\"a\":2}]"), HasSubstr("x.json:2: expected ,"));
  EXPECT_THAT(error_of("x.json", "[{\"a\":1},]"), HasSubstr("invalid JSON"));
  EXPECT_THAT(error_of("x.json", "[{\"a\":1}] x"), HasSubstr("after the end of the list"));
  EXPECT_THAT(error_of("x.json", "[{\"a\":1"), HasSubstr("cut"));
  EXPECT_THAT(error_of("x.json", "[{\"a\":\"b\n\"}]"), HasSubstr("x.json:1: a string"));
  for (const char* name : {"x.json", "x.jsonl"}) EXPECT_THAT(error_of(name, " \n"), HasSubstr("empty"));
  EXPECT_THAT(error_of("x.json", "[]"), HasSubstr("no records"));
}

TEST(Reader, CommaSeparated) {
  std::vector<Record> records = read("x.csv",
                                     "\xEF\xBB\xBF"
                                     "q,a\r\n\"one, \"\"two\"\"\r\nthree\",x\r\n\r\n=cmd|' /C calc'!A0,\n");
  ASSERT_EQ(records.size(), 2u);
  EXPECT_EQ(records[0].value["q"], "one, \"two\"\r\nthree");
  EXPECT_EQ(records[0].value["a"], "x");
  EXPECT_THAT(records[1].origin, HasSubstr("x.csv:5"));
  EXPECT_EQ(records[1].value["a"], "");
  EXPECT_THAT(error_of("x.csv", "a,b\n1,2\n1,2,3\n"), HasSubstr("x.csv:3: 3 fields, the header has 2"));
  EXPECT_THAT(error_of("x.csv", "a,b\n1,\"2\n3,4\n"), HasSubstr("x.csv:2: a field"));
  EXPECT_THAT(error_of("x.csv", "a,b\n1,\"2\"3\n"), HasSubstr("after the closing"));
  EXPECT_THAT(error_of("x.csv", "a,a\n1,2\n"), HasSubstr("twice"));
  EXPECT_THAT(error_of("x.csv", std::string("a,b\n1,\0\n", 8)), HasSubstr("x.csv:2: a NUL byte"));
  EXPECT_THAT(error_of("x.csv", "a,b\n1,\xff\n"), HasSubstr("UTF-8"));
  EXPECT_THAT(error_of("x.csv", "a,b\n"), HasSubstr("no records"));
}

TEST(Reader, TabSeparatedHasNoQuotes) {
  std::vector<Record> records = read("x.tsv", "q\ta\n\"open\tx\n");
  ASSERT_EQ(records.size(), 1u);
  EXPECT_EQ(records[0].value["q"], "\"open");
}

TEST(Reader, PlainLines) {
  std::vector<Record> records = read("x.txt", "one\n\n  \ntwo\r\nthree");
  ASSERT_EQ(records.size(), 3u);
  EXPECT_EQ(records[1].value["text"], "two");
  EXPECT_THAT(records[2].origin, HasSubstr("x.txt:5"));
}

TEST(Reader, ForeignFiles) {
  EXPECT_THAT(error_of("x.jsonl", gzip("{}")), HasSubstr("gzip"));
  EXPECT_THAT(error_of("x.json", "PK\x03\x04zip"), HasSubstr("zip archive"));
  EXPECT_THAT(error_of("x.json", "\x28\xb5\x2f\xfdzst"), HasSubstr("zstd"));
  EXPECT_THAT(error_of("x.parquet", "PAR1"), HasSubstr("Parquet"));
  EXPECT_THAT(error_of("x.csv",
                       "\xff\xfe"
                       "a"),
              HasSubstr("UTF-16"));
  EXPECT_THAT(error_of("x.json", std::string("[\0{\0", 4)), HasSubstr("UTF-16"));
  EXPECT_THAT(error_of("x.bin", "text"), HasSubstr("unknown kind"));
  EXPECT_THAT(error_of("x.jsonl.gz", "{}"), HasSubstr("not a gzip file"));
  std::string good = gzip("{\"a\":1}\n");
  EXPECT_THAT(error_of("x.jsonl.gz", good.substr(0, good.size() - 9)), HasSubstr("ends early"));
  std::string bad = good;
  bad[good.size() - 6] ^= 1;
  EXPECT_THAT(error_of("x.jsonl.gz", bad), HasSubstr("damaged gzip"));
  EXPECT_EQ(read("x.jsonl.gz", good + good).size(), 2u);
  EXPECT_THAT(error_of("x.txt.gz", gzip(std::string(200 << 20, 'x'))), HasSubstr("times its size"));
}

TEST(Reader, FoldersAndPatterns) {
  TempDir dir;
  write_text(dir / "b.jsonl", "{\"n\":2}\n");
  write_text(dir / "a.jsonl", "{\"n\":1}\n");
  write_text(dir / "dataset_info.json", "{}");
  write_text(dir / "README.md", "no data");
  ASSERT_EQ(read_records(dir.path()).size(), 2u);
  EXPECT_EQ(read_records(dir.path())[0].value["n"], 1);
  EXPECT_EQ(read_records(dir / "*.jsonl").size(), 2u);
  EXPECT_EQ(read_records(dir / "b*").size(), 1u);
  EXPECT_EQ(read_records(dir / "*.jsonl", 1).size(), 1u);
  EXPECT_THROW(read_records(dir / "*.csv"), Error);
  write_text(dir / "c.txt", "line");
  EXPECT_THROW(read_records(dir.path()), Error);
}

std::string zstd_packed(const std::string& text) {
  std::string packed(ZSTD_compressBound(text.size()), '\0');
  packed.resize(ZSTD_compress(packed.data(), packed.size(), text.data(), text.size(), 3));
  return packed;
}

TEST(Reader, ZstdFilesAreUnpackedPieceByPiece) {
  test::TempDir folder;
  std::string lines;
  for (int i = 0; i < 50'000; ++i) lines += fmt::format("{{\"text\": \"row {} {}\"}}\n", i, i * 7919 % 10007);
  std::string packed = zstd_packed(lines);
  test::write_text(folder / "x.jsonl.zst", packed);
  EXPECT_EQ(read_records(folder / "x.jsonl.zst").size(), 50'000u);
  // Two frames one after the other are one file.
  test::write_text(folder / "x.jsonl.zst", packed + packed);
  EXPECT_EQ(read_records(folder / "x.jsonl.zst").size(), 100'000u);
  for (const std::string& damaged :
       {packed.substr(0, packed.size() / 2), packed.substr(0, 8), std::string("text"),
        std::string("\x28\xb5\x2f\xfd\xff\xff\xff\xff\xff\xff\xff\xff")}) {
    test::write_text(folder / "x.jsonl.zst", damaged);
    EXPECT_THROW(read_records(folder / "x.jsonl.zst"), Error) << damaged.size();
  }
  test::write_text(folder / "bomb.jsonl.zst", zstd_packed(std::string(size_t{200} << 20, ' ')));
  EXPECT_THROW(read_records(folder / "bomb.jsonl.zst"), Error);
}

}  // namespace
}  // namespace fettle
