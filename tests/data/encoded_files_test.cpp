// Encoded rows in memory and in files, kept files, folders as Hugging Face lays them out, Parquet.
#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include "fettle/base/error.h"
#include "fettle/base/file.h"
#include "fettle/data/dataset.h"
#include "fettle/data/packing.h"
#include "fettle/data/parquet_records.h"
#include "support.h"

namespace fettle {
namespace {

namespace fs = std::filesystem;

std::string refusal(const std::function<void()>& run) {
  try {
    run();
  } catch (const Error& error) {
    return error.what();
  }
  return "(nothing was refused)";
}

void put(const fs::path& path, std::string_view text) {
  fs::create_directories(path.parent_path());
  test::write_text(path, std::string(text));
}

bool holds(const std::string& text, const std::string& part) {
  return text.find(part) != text.npos;
}

void fill(Examples& examples) {
  for (int32_t i = 1; i <= 5; ++i)
    examples.append({std::vector<int32_t>(static_cast<size_t>(i), i),
                     std::vector<int32_t>(static_cast<size_t>(i), -100),
                     {}},
                    "rows.jsonl:" + std::to_string(i));
  examples.append({{7, 8, 9}, {7, 8, 9}, {}}, "");
}

TEST(Examples, FilesHoldWhatMemoryHolds) {
  test::TempDir dir;
  Examples memory, files = Examples::in_files(dir / "rows");
  fill(memory);
  fill(files);
  files.seal();
  Examples opened = Examples::open(dir / "rows", 10);
  for (const Examples* other : {&files, &opened}) {
    ASSERT_EQ(other->size(), memory.size());
    for (size_t i = 0; i < memory.size(); ++i) {
      EXPECT_EQ((*other)[i].ids, memory[i].ids);
      EXPECT_EQ((*other)[i].labels, memory[i].labels);
      EXPECT_TRUE((*other)[i].lengths.empty());
      EXPECT_EQ(other->length(i), memory.length(i));
      EXPECT_EQ(other->origin(i), memory.origin(i));
    }
  }
  Examples chosen = opened.select({5, 0, 5});
  EXPECT_EQ(chosen.size(), 3u);
  EXPECT_EQ(chosen[0].ids, chosen[2].ids);
  EXPECT_EQ(chosen.origin(1), "rows.jsonl:1");
  Examples packed = opened.grouped({{0, 2}, {5}});
  EXPECT_EQ(packed[0].ids, (std::vector<int32_t>{1, 3, 3, 3}));
  EXPECT_EQ(packed[0].lengths, (std::vector<int32_t>{1, 3}));
  EXPECT_EQ(packed[1].lengths, (std::vector<int32_t>{3}));
  EXPECT_EQ(packed.select({1})[0].ids, (std::vector<int32_t>{7, 8, 9}));
}

TEST(Examples, DamagedFilesAreNamed) {
  test::TempDir dir;
  auto make = [&] {
    fs::remove_all(dir / "rows");
    Examples files = Examples::in_files(dir / "rows");
    fill(files);
    files.seal();
  };
  auto open = [&](int64_t vocab_size = 10) {
    return refusal([&] { Examples::open(dir / "rows", vocab_size); });
  };
  make();
  EXPECT_TRUE(holds(open(9), "token id 9 is not in a vocabulary of 9"));
  for (const char* name : {"ids.i32", "labels.i32", "begins.u64", "origins.txt"}) {
    make();
    fs::resize_file(dir / "rows" / name, fs::file_size(dir / "rows" / name) - 3);
    EXPECT_TRUE(holds(open(), "damaged")) << name;
    fs::remove(dir / "rows" / name);
    EXPECT_TRUE(holds(open(), std::string(name) + " is missing"));
  }
  make();
  std::fstream begins(dir / "rows" / "begins.u64", std::ios::in | std::ios::out | std::ios::binary);
  begins.seekp(32);
  begins.write("\xff\xff\xff\xff\xff\xff\xff\x7f", 8);
  begins.close();
  EXPECT_TRUE(holds(open(), "damaged"));
}

DatasetRequest token_request(const fs::path& dir) {
  DatasetRequest request;
  request.datasets = {"rows.jsonl"};
  request.dataset_dir = dir;
  request.vocab_size = 100;
  request.cutoff_len = 4;
  return request;
}

TEST(EncodedFiles, AreKeptAndKnownAgain) {
  test::TempDir dir;
  put(dir / "rows.jsonl",
      "{\"input_ids\": [1, 2, 3]}\n{\"input_ids\": [4, 5, 6, 7, 8]}\n{\"input_ids\": []}\n");
  DatasetRequest request = token_request(dir.path());
  Dataset plain = load_dataset(request);
  request.files = dir / "kept";
  request.keep_files = true;
  int64_t encoded = 0;
  request.progress = [&](int64_t, int64_t) { ++encoded; };
  Dataset first = load_dataset(request);
  EXPECT_GT(encoded, 0);
  encoded = 0;
  Dataset again = load_dataset(request);
  EXPECT_EQ(encoded, 0) << "nothing was encoded a second time";
  for (const Dataset* data : {&first, &again}) {
    ASSERT_EQ(data->examples.size(), plain.examples.size());
    for (size_t i = 0; i < plain.examples.size(); ++i)
      EXPECT_EQ(data->examples[i].ids, plain.examples[i].ids);
    EXPECT_EQ(data->notes, plain.notes);
    EXPECT_EQ(data->truncated, plain.truncated);
    EXPECT_EQ(data->dropped, 1);
    ASSERT_EQ(data->dropped_rows.size(), 1u);
    EXPECT_EQ(data->dropped_rows[0].reason, plain.dropped_rows[0].reason);
  }
  // What does not fit any more is told, and made anew only when that is asked for.
  request.cutoff_len = 3;
  EXPECT_TRUE(holds(refusal([&] { load_dataset(request); }), "another cutoff_len"));
  request.overwrite_files = true;
  EXPECT_EQ(load_dataset(request).examples[1].ids.size(), 3u);
  request.overwrite_files = false;
  put(dir / "rows.jsonl", "{\"input_ids\": [1, 2]}\n");
  EXPECT_TRUE(holds(refusal([&] { load_dataset(request); }), "another data"));
  put(dir / "other" / "file.txt", "mine");
  request.files = dir / "other";
  EXPECT_TRUE(holds(refusal([&] { load_dataset(request); }), "holds something else"));
  EXPECT_TRUE(fs::exists(dir / "other" / "file.txt"));
  put(dir / "kept" / "encoded.json", "{\"key\": 3}");
  request.files = dir / "kept";
  EXPECT_TRUE(holds(refusal([&] { load_dataset(request); }), "damaged"));
}

TEST(EncodedFiles, StreamedRowsLeaveNothingBehind) {
  test::TempDir dir;
  put(dir / "rows.jsonl", "{\"input_ids\": [1, 2, 3]}\n{\"input_ids\": [4, 5]}\n");
  DatasetRequest request = token_request(dir.path());
  request.files = dir / "run" / ".rows-train";
  Dataset data = load_dataset(request);
  Dataset validation = split_validation(data, 1, 42);
  EXPECT_EQ(data.examples.size() + validation.examples.size(), 2u);
  EXPECT_FALSE(fs::exists(dir / "run"));
}

TEST(DataFiles, FoldersOfHuggingFace) {
  test::TempDir dir;
  auto names = [&](const fs::path& folder, const char* split) {
    std::string text;
    for (const fs::path& file : data_files(dir / folder, split)) text += file.filename().string() + " ";
    return text;
  };
  for (const char* file : {"a/data/train-00000-of-00002.jsonl", "a/data/train-00001-of-00002.jsonl",
                           "a/data/test-00000-of-00001.jsonl", "a/dataset_infos.json", "b/train/1.jsonl",
                           "b/dev/2.jsonl", "c/one.jsonl", "c/two.jsonl", "d/my_val.jsonl"})
    put(dir / file, "{\"text\": \"x\"}\n");
  EXPECT_EQ(names("a", "train"), "train-00000-of-00002.jsonl train-00001-of-00002.jsonl ");
  EXPECT_EQ(names("a", "test"), "test-00000-of-00001.jsonl ");
  EXPECT_EQ(names("b", "train"), "1.jsonl ");
  EXPECT_EQ(names("b", "validation"), "2.jsonl ");
  EXPECT_EQ(names("c", "train"), "one.jsonl two.jsonl ");
  EXPECT_TRUE(holds(refusal([&] { names("c", "test"); }), "no such split"));
  EXPECT_TRUE(holds(refusal([&] { names("d", "train"); }), "no file is named train"));
  // The registry names splits and subsets of such folders.
  put(dir / "dataset_info.json",
      R"({"x": {"file_name": "a", "split": "test"}, "y": {"file_name": "b", "split": "dev"},
                       "z": {"file_name": ".", "subset": "c"}, "w": {"file_name": ".", "subset": "../c"}})");
  EXPECT_EQ(find_dataset(dir.path(), "x").split, "test");
  EXPECT_EQ(find_dataset(dir.path(), "y").split, "validation");
  EXPECT_EQ(find_dataset(dir.path(), "z").path.filename(), "c");
  EXPECT_TRUE(holds(refusal([&] { find_dataset(dir.path(), "w"); }), "is no folder"));
}

TEST(Parquet, RowsAreThoseOfTheTable) {
  const fs::path folder = test::golden_dir() / "data" / "parquet";
  if (!reads_parquet()) {
    EXPECT_TRUE(holds(refusal([&] { read_records(folder / "rows.parquet"); }), "built without Apache Arrow"));
    return;
  }
  const Json want = read_json(folder / "rows.json");
  std::vector<Record> rows = read_records(folder / "rows.parquet");
  ASSERT_EQ(rows.size(), want.size());
  for (size_t i = 0; i < rows.size(); ++i) {
    EXPECT_EQ(Json(rows[i].value), want[i]);
    EXPECT_TRUE(rows[i].origin.ends_with("rows.parquet:" + std::to_string(i + 1)));
  }
  test::TempDir dir;
  const std::string bytes = read_file(folder / "rows.parquet");
  put(dir / "cut.parquet", bytes.substr(0, bytes.size() / 2));
  EXPECT_TRUE(holds(refusal([&] { read_records(dir / "cut.parquet"); }), "no readable Parquet file"));
  for (size_t at = 4; at < bytes.size(); at += 97) {
    std::string flipped = bytes;
    flipped[at] = static_cast<char>(flipped[at] ^ 0x55);
    put(dir / "flipped.parquet", flipped);
    try {
      read_records(dir / "flipped.parquet");
    } catch (const Error&) {
    }
  }
}

}  // namespace
}  // namespace fettle
