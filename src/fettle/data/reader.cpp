#include "fettle/data/reader.h"

#include <glob.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "fettle/base/error.h"
#include "fettle/data/json_records.h"
#include "fettle/data/line_records.h"
#include "fettle/data/source.h"

namespace fettle {
namespace fs = std::filesystem;
namespace {

enum class Kind { kNone, kJson, kComma, kTab, kText };

Kind kind_of(const fs::path& path) {
  std::string extension = without_packing(path).extension().string();
  if (extension == ".json" || extension == ".jsonl" || extension == ".ndjson") return Kind::kJson;
  if (extension == ".csv") return Kind::kComma;
  if (extension == ".tsv") return Kind::kTab;
  return extension == ".txt" ? Kind::kText : Kind::kNone;
}

// POSIX glob with only * and ?: brackets are usual in file names.
std::vector<fs::path> matches(const fs::path& pattern) {
  std::string escaped;
  for (char c : pattern.string()) {
    if (c == '[' || c == '\\') escaped += '\\';
    escaped += c;
  }
  glob_t found{};
  std::vector<fs::path> files;
  if (::glob(escaped.c_str(), GLOB_NOSORT, nullptr, &found) == 0)
    for (size_t i = 0; i < found.gl_pathc; ++i) files.emplace_back(found.gl_pathv[i]);
  ::globfree(&found);
  return files;
}

bool read_one(const fs::path& path, const RecordSink& sink, DamagedLine damaged) {
  std::string origin = path.string();
  TextSource source(path);
  switch (kind_of(path)) {
    case Kind::kJson:
      return read_json_records(source, origin, sink, damaged);
    case Kind::kComma:
      return read_separated(source, ',', origin, sink);
    case Kind::kTab:
      return read_separated(source, '\t', origin, sink);
    case Kind::kText:
      return read_text_lines(source, origin, sink);
    case Kind::kNone:
      break;
  }
  source.next();  // names what the file is when it is no text
  fail_input(
      "{}: unknown kind of data file; expected .json, .jsonl, .csv, .tsv or .txt, perhaps with .gz or .zst",
      origin);
}

}  // namespace

std::vector<fs::path> data_files(const fs::path& path) {
  std::vector<fs::path> files;
  bool folder = fs::is_directory(path);
  if (!folder && (fs::exists(path) || path.string().find_first_of("*?") == std::string::npos)) return {path};
  if (folder) {
    for (const fs::directory_entry& entry : fs::directory_iterator(path))
      if (entry.is_regular_file() && kind_of(entry.path()) != Kind::kNone &&
          entry.path().filename() != "dataset_info.json")
        files.push_back(entry.path());
  } else {
    files = matches(path);
    std::erase_if(files, [](const fs::path& file) { return !fs::is_regular_file(file); });
  }
  if (files.empty())
    fail_input("{}: no data files (.json, .jsonl, .csv, .tsv, .txt, each also with .gz or .zst) {}",
               path.string(), folder ? "in this folder" : "fit this pattern");
  std::sort(files.begin(), files.end());
  for (const fs::path& file : files)
    if (kind_of(file) != kind_of(files[0]))
      fail_input("{}: holds files of two kinds, {} and {}; name one of them", path.string(),
                 files[0].filename().string(), file.filename().string());
  return files;
}

bool fits_any_file(const fs::path& pattern) {
  return pattern.string().find_first_of("*?") != std::string::npos && !matches(pattern).empty();
}

void for_each_record(const fs::path& path, const RecordSink& sink, DamagedLine damaged) {
  for (const fs::path& file : data_files(path))
    if (!read_one(file, sink, damaged)) return;
}

std::vector<Record> read_records(const fs::path& path, size_t most) {
  std::vector<Record> records;
  for_each_record(path, [&](Record&& record) {
    records.push_back(std::move(record));
    return records.size() < most;
  });
  if (records.empty()) fail_input("{}: no records", path.string());
  return records;
}

}  // namespace fettle
