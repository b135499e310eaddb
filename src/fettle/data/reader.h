// Records of data files.
#pragma once
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "fettle/base/json.h"

namespace fettle {

struct Record {
  OrderedJson value;
  std::string origin;  ///< "data.jsonl:12" or "data.json[3]"
};

/// All records of a file, or of every data file of a folder in name order. JSON arrays and JSON lines are told apart by
/// their content, whatever the extension; CSV and TSV need a header line; each line of a .txt file is {"text": line}.
/// Error(kBadInput) naming file and line.
std::vector<Record> read_records(const std::filesystem::path& path);

}  // namespace fettle
