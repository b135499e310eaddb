#include "fettle/data/reader.h"

#include <glob.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "fettle/base/error.h"
#include "fettle/data/json_records.h"
#include "fettle/data/line_records.h"
#include "fettle/data/parquet_records.h"
#include "fettle/data/source.h"

namespace fettle {
namespace fs = std::filesystem;
namespace {

enum class Kind { kNone, kJson, kComma, kTab, kText, kParquet };

Kind kind_of(const fs::path& path) {
  std::string extension = without_packing(path).extension().string();
  if (extension == ".json" || extension == ".jsonl" || extension == ".ndjson") return Kind::kJson;
  if (extension == ".csv") return Kind::kComma;
  if (extension == ".tsv") return Kind::kTab;
  if (path.extension() == ".parquet") return Kind::kParquet;
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

std::vector<fs::path> files_in(const fs::path& folder) {
  std::vector<fs::path> files;
  static const std::vector<std::string> kDescriptions = {"dataset_info.json", "dataset_infos.json",
                                                         "dataset_dict.json", "state.json"};
  for (const fs::directory_entry& entry : fs::directory_iterator(folder))
    if (entry.is_regular_file() && kind_of(entry.path()) != Kind::kNone &&
        std::find(kDescriptions.begin(), kDescriptions.end(), entry.path().filename()) == kDescriptions.end())
      files.push_back(entry.path());
  return files;
}

// The split that a file or folder name tells by one of the words of `datasets` (data_files.py), which stands
// between marks; empty when it tells none.
std::string split_of(const std::string& name) {
  static const std::vector<std::pair<const char*, const char*>> kWords = {
      {"train", "train"},      {"training", "train"}, {"validation", "validation"},
      {"valid", "validation"}, {"val", "validation"}, {"dev", "validation"},
      {"test", "test"},        {"testing", "test"},   {"eval", "test"},
      {"evaluation", "test"}};
  std::string word, found;
  for (char c : name + ".") {
    if (std::isalnum(static_cast<unsigned char>(c))) {
      word += static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
      continue;
    }
    for (const auto& [text, split] : kWords)
      if (word == text && found.empty()) found = split;
    word.clear();
  }
  return found;
}

std::vector<fs::path> files_of_split(const fs::path& folder, const std::string& split) {
  std::vector<fs::path> files = files_in(folder);
  // A folder for each split, or one for all.
  if (files.empty())
    for (const fs::directory_entry& entry : fs::directory_iterator(folder))
      if (entry.is_directory() && split_of(entry.path().filename().string()) == split)
        for (const fs::path& file : files_in(entry.path())) files.push_back(file);
  if (!files.empty() && files.front().parent_path() != folder) return files;
  if (files.empty() && fs::is_directory(folder / "data")) return files_of_split(folder / "data", split);
  const bool named = std::any_of(files.begin(), files.end(), [](const fs::path& file) {
    return !split_of(file.filename().string()).empty();
  });
  if (!files.empty() && !named && split != "train")
    fail_input("{}: no file is named {}, so there is no such split", folder.string(), split);
  if (named)
    std::erase_if(files, [&](const fs::path& file) { return split_of(file.filename().string()) != split; });
  if (named && files.empty()) fail_input("{}: no file is named {}", folder.string(), split);
  return files;
}

bool read_one(const fs::path& path, const RecordSink& sink, DamagedLine damaged) {
  std::string origin = path.string();
  if (kind_of(path) == Kind::kParquet) return read_parquet(path, sink);
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
    case Kind::kParquet:
      break;
  }
  source.next();  // names what the file is when it is no text
  fail_input(
      "{}: unknown kind of data file; expected .json, .jsonl, .csv, .tsv or .txt, perhaps with .gz or .zst, "
      "or .parquet",
      origin);
}

}  // namespace

std::vector<fs::path> data_files(const fs::path& path, const std::string& split) {
  std::vector<fs::path> files;
  bool folder = fs::is_directory(path);
  if (!folder && (fs::exists(path) || path.string().find_first_of("*?") == std::string::npos)) return {path};
  if (folder) {
    files = files_of_split(path, split);
  } else {
    files = matches(path);
    std::erase_if(files, [](const fs::path& file) { return !fs::is_regular_file(file); });
  }
  if (files.empty())
    fail_input("{}: no data files (.json, .jsonl, .csv, .tsv, .txt, each also with .gz or .zst; .parquet) {}",
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

void for_each_record(const fs::path& path, const RecordSink& sink, DamagedLine damaged,
                     const std::string& split) {
  for (const fs::path& file : data_files(path, split))
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
