#include "fettle/data/line_records.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "fettle/base/error.h"
#include "fettle/base/utf8.h"
#include "fettle/data/json_records.h"

namespace fettle {
namespace {

void check_text(std::string_view text, const std::string& where) {
  if (size_t bad = first_invalid_utf8(text); bad != text.npos)
    fail_input("{}: byte {} is not valid UTF-8; save the file as UTF-8", where, bad + 1);
}

bool is_blank(std::string_view text) {
  return text.find_first_not_of(" \t\r") == text.npos;
}

/// Rows of fields.
class SeparatedRows {
 public:
  SeparatedRows(char separator, const std::string& origin, const RecordSink& sink)
      : separator_(separator), origin_(origin), sink_(sink) {}

  /// False when the sink stopped.
  bool take(char c) {
    if (c == '\0') fail_input("{}: a NUL byte; is this text?", where(line_));
    if (c == '\n') ++line_;
    if (state_ == State::kAfterQuote) {
      state_ = State::kField;
      if (c == '"') {
        state_ = State::kQuoted;
        return append('"');
      }
      if (c != separator_ && c != '\n' && c != '\r')
        fail_input("{}: text after the closing quotation mark of a field", where(row_line_));
    }
    if (state_ == State::kQuoted) {
      if (c != '"') return append(c);
      state_ = State::kAfterQuote;
      return true;
    }
    if (c == '"' && separator_ == ',' && field_.empty() && !was_quoted_) {
      state_ = State::kQuoted;
      was_quoted_ = any_ = true;
      return true;
    }
    if (c == separator_) {
      end_field();
      any_ = true;
      return true;
    }
    if (c != '\n') return append(c);
    if (!field_.empty() && field_.back() == '\r') field_.pop_back();
    bool go_on = end_row();
    row_line_ = line_;
    return go_on;
  }

  bool finish() {
    if (state_ == State::kQuoted)
      fail_input("{}: a field that begins in this row lacks its closing quotation mark", where(row_line_));
    if (!field_.empty() && field_.back() == '\r') field_.pop_back();
    return any_ || !field_.empty() ? end_row() : true;
  }

 private:
  enum class State { kField, kQuoted, kAfterQuote };

  bool append(char c) {
    if (bytes_++ >= kMaxRecordBytes)
      fail_input("{}: a row above {} bytes", where(row_line_), kMaxRecordBytes);
    field_ += c;
    return true;
  }
  void end_field() {
    row_.push_back(std::move(field_));
    field_.clear();
    was_quoted_ = false;
  }
  bool end_row() {
    bool blank = !any_ && field_.empty();
    end_field();
    std::vector<std::string> row = std::exchange(row_, {});
    any_ = false;
    bytes_ = 0;
    if (blank) return true;
    std::string at = where(row_line_);
    for (const std::string& field : row) check_text(field, at);
    if (header_.empty()) {
      header_ = std::move(row);
      for (size_t i = 0; i < header_.size(); ++i)
        if (std::find(header_.begin(), header_.begin() + static_cast<ptrdiff_t>(i), header_[i]) !=
            header_.begin() + static_cast<ptrdiff_t>(i))
          fail_input("{}: the header names \"{}\" twice", at, printable(header_[i]));
      return true;
    }
    if (row.size() != header_.size())
      fail_input("{}: {} fields, the header has {}", at, row.size(), header_.size());
    OrderedJson record = OrderedJson::object();
    for (size_t i = 0; i < header_.size(); ++i) record[header_[i]] = std::move(row[i]);
    return sink_({std::move(record), at, ""});
  }
  std::string where(int64_t line) const { return fmt::format("{}:{}", origin_, line); }

  char separator_;
  const std::string& origin_;
  const RecordSink& sink_;
  State state_ = State::kField;
  bool was_quoted_ = false, any_ = false;
  std::string field_;
  std::vector<std::string> row_, header_;
  int64_t line_ = 1, row_line_ = 1;
  size_t bytes_ = 0;
};

}  // namespace

bool read_text_lines(TextSource& source, const std::string& origin, const RecordSink& sink) {
  std::string line;
  int64_t number = 0;
  auto give = [&] {
    ++number;
    if (!line.empty() && line.back() == '\r') line.pop_back();
    std::string one = std::exchange(line, {});
    if (is_blank(one)) return true;
    std::string at = fmt::format("{}:{}", origin, number);
    check_text(one, at);
    return sink({OrderedJson{{"text", std::move(one)}}, at, ""});
  };
  for (std::string_view piece = source.next(); !piece.empty(); piece = source.next()) {
    while (!piece.empty()) {
      size_t end = std::min(piece.find('\n'), piece.size());
      line += piece.substr(0, end);
      if (line.size() > kMaxRecordBytes)
        fail_input("{}:{}: a line above {} bytes", origin, number + 1, kMaxRecordBytes);
      if (end < piece.size() && !give()) return false;
      piece.remove_prefix(std::min(end + 1, piece.size()));
    }
  }
  return line.empty() || give();
}

bool read_separated(TextSource& source, char separator, const std::string& origin, const RecordSink& sink) {
  SeparatedRows rows(separator, origin, sink);
  for (std::string_view piece = source.next(); !piece.empty(); piece = source.next())
    for (char c : piece)
      if (!rows.take(c)) return false;
  return rows.finish();
}

}  // namespace fettle
