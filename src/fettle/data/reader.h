// Records of data files, one after another.
#pragma once
#include <filesystem>
#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "fettle/base/json.h"

namespace fettle {

struct Record {
  OrderedJson value;
  std::string origin;  ///< "data.jsonl:12": the line where the record begins
  std::string damage;  ///< not empty: the line is no JSON, and why; the value is null then
};

/// What happens at a line of JSON lines that is no JSON.
enum class DamagedLine {
  kRefuse,  ///< Error(kBadInput)
  kKeep,    ///< a record with `damage`, for those who count
};

/// Takes a record; false stops the reading.
using RecordSink = std::function<bool(Record&&)>;

/// The data files that `path` stands for: the file itself, every data file of a folder in name order, or
/// those that fit a pattern with * and ?. All must be of one kind. Error(kBadInput) when there is none.
/// Of a folder as Hugging Face lays it out (files, or folders of files, named train, validation or test;
/// perhaps below data/) only those of `split`, "train", "validation" or "test"; where no name says a split,
/// all are train.
std::vector<std::filesystem::path> data_files(const std::filesystem::path& path,
                                              const std::string& split = "train");

/// Whether any file fits a pattern with * and ?.
bool fits_any_file(const std::filesystem::path& pattern);

/// Reads .json, .jsonl, .csv, .tsv and .txt files, each also with .gz or .zst, and .parquet files where the
/// program was built with Arrow, and never holds more than a record and two pieces of the file. JSON arrays
/// and JSON lines are told apart by their content, whatever the extension; only \n ends a line. CSV (RFC
/// 4180) and TSV (no quoting) need a header line; each line of a .txt file that is not blank is
/// {"text": line}. A record is at most 256 MiB. Error(kBadInput) naming file and line.
void for_each_record(const std::filesystem::path& path, const RecordSink& sink,
                     DamagedLine damaged = DamagedLine::kRefuse, const std::string& split = "train");

/// The first `most` records; Error(kBadInput) when there is none.
std::vector<Record> read_records(const std::filesystem::path& path, size_t most = SIZE_MAX);

}  // namespace fettle
