#include "fettle/data/reader.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "fettle/base/error.h"
#include "fettle/base/file.h"
#include "fettle/base/utf8.h"

namespace fettle {
namespace fs = std::filesystem;
namespace {

constexpr uint64_t kMaxFile = uint64_t{16} << 30;

// Calls line(text, number) for each line; only \n ends a line, since texts may hold other separators.
void each_line(std::string_view text, const std::function<void(std::string_view, int64_t)>& line) {
  int64_t number = 0;
  for (size_t begin = 0; begin < text.size();) {
    size_t end = std::min(text.find('\n', begin), text.size());
    std::string_view one = text.substr(begin, end - begin);
    if (!one.empty() && one.back() == '\r') one.remove_suffix(1);
    line(one, ++number);
    begin = end + 1;
  }
}

bool is_blank(std::string_view text) {
  return text.find_first_not_of(" \t\r\n") == text.npos;
}

void read_json_array(std::string_view text, const std::string& origin, std::vector<Record>& out) {
  OrderedJson all = parse_ordered_json(text, origin);
  if (!all.is_array()) {
    // A single object is a data set of one record only when it is not a wrapper of another kind.
    if (!all.is_object()) fail_input("{}: expected a list of records", origin);
    out.push_back({std::move(all), origin});
    return;
  }
  for (size_t i = 0; i < all.size(); ++i) out.push_back({std::move(all[i]), fmt::format("{}[{}]", origin, i)});
}

void read_json_lines(std::string_view text, const std::string& origin, std::vector<Record>& out) {
  each_line(text, [&](std::string_view line, int64_t number) {
    if (is_blank(line)) return;
    std::string where = fmt::format("{}:{}", origin, number);
    out.push_back({parse_ordered_json(line, where), where});
  });
}

void read_json_any(std::string_view text, const std::string& origin, std::vector<Record>& out) {
  size_t first = text.find_first_not_of(" \t\r\n");
  if (first == text.npos) fail_input("{}: the file is empty", origin);
  if (text[first] == '[') return read_json_array(text, origin, out);
  // One object on its first line means JSON lines; an object over several lines is one record.
  size_t end = std::min(text.find('\n', first), text.size());
  bool lines = !is_blank(text.substr(end)) ? Json::accept(text.substr(first, end - first)) : true;
  if (lines) read_json_lines(text, origin, out);
  else read_json_array(text, origin, out);
}

// RFC 4180: fields in quotes may hold separators, line ends and doubled quotes.
void read_separated(std::string_view text, char separator, const std::string& origin, std::vector<Record>& out) {
  std::vector<std::string> header, row;
  std::string field;
  bool quoted = false, any = false;
  int64_t line = 1, row_line = 1;
  auto end_row = [&] {
    row.push_back(std::move(field));
    field.clear();
    if (!any && row.size() == 1 && row[0].empty()) {
      row.clear();
      return;
    }
    if (header.empty()) {
      header = row;
    } else {
      if (row.size() != header.size())
        fail_input("{}:{}: {} fields, the header has {}", origin, row_line, row.size(), header.size());
      OrderedJson record = OrderedJson::object();
      for (size_t i = 0; i < header.size(); ++i) record[header[i]] = row[i];
      out.push_back({std::move(record), fmt::format("{}:{}", origin, row_line)});
    }
    row.clear();
    any = false;
  };
  for (size_t i = 0; i < text.size(); ++i) {
    char c = text[i];
    if (quoted) {
      if (c == '"' && i + 1 < text.size() && text[i + 1] == '"') field += text[++i];
      else if (c == '"') quoted = false;
      else field += c;
      if (c == '\n') ++line;
    } else if (c == '"' && field.empty() && separator == ',') {
      quoted = any = true;
    } else if (c == separator) {
      row.push_back(std::move(field));
      field.clear();
      any = true;
    } else if (c == '\n') {
      if (!field.empty() && field.back() == '\r') field.pop_back();
      end_row();
      row_line = ++line;
    } else {
      field += c;
    }
  }
  if (quoted) fail_input("{}:{}: a quoted field does not end", origin, row_line);
  if (any || !field.empty()) end_row();
}

void read_one(const fs::path& path, std::vector<Record>& out) {
  std::string origin = path.string(), text = read_file(path, kMaxFile), extension = path.extension().string();
  if (text.starts_with("\xEF\xBB\xBF")) text.erase(0, 3);  // a byte-order mark that editors leave
  if (extension == ".json" || extension == ".jsonl") return read_json_any(text, origin, out);
  if (extension == ".csv" || extension == ".tsv") return read_separated(text, extension == ".csv" ? ',' : '\t', origin, out);
  if (extension == ".txt") {
    each_line(text, [&](std::string_view line, int64_t number) {
      if (is_blank(line)) return;
      std::string where = fmt::format("{}:{}", origin, number);
      if (size_t bad = first_invalid_utf8(line); bad != line.npos) fail_input("{}: byte {} is not valid UTF-8", where, bad);
      out.push_back({OrderedJson{{"text", std::string(line)}}, where});
    });
    return;
  }
  fail_input("{}: unknown kind of data file; expected .json, .jsonl, .csv, .tsv or .txt", origin);
}

}  // namespace

std::vector<Record> read_records(const fs::path& path) {
  std::vector<Record> records;
  if (!fs::is_directory(path)) {
    read_one(path, records);
  } else {
    std::vector<fs::path> files;
    for (const fs::directory_entry& entry : fs::directory_iterator(path)) {
      std::string extension = entry.path().extension().string();
      bool data = extension == ".json" || extension == ".jsonl" || extension == ".csv" || extension == ".tsv" || extension == ".txt";
      if (entry.is_regular_file() && data && entry.path().filename() != "dataset_info.json") files.push_back(entry.path());
    }
    std::sort(files.begin(), files.end());
    if (files.empty()) fail_input("{}: no data files (.json, .jsonl, .csv, .tsv, .txt) in this folder", path.string());
    for (const fs::path& file : files) read_one(file, records);
  }
  if (records.empty()) fail_input("{}: no records", path.string());
  return records;
}

}  // namespace fettle
