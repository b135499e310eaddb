#include "fettle/data/json_records.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "fettle/base/error.h"

namespace fettle {
namespace {

bool is_space(char c) {
  return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

/// Walks the characters of a source and collects the value under way.
class JsonRecords {
 public:
  JsonRecords(TextSource& source, const std::string& origin, const RecordSink& sink, DamagedLine damaged)
      : source_(source), origin_(origin), sink_(sink), damaged_(damaged) {}

  bool run() {
    if (!peek_token()) fail_input("{}: the file is empty", origin_);
    if (now() == '[') return array();
    // Values one after another. In JSON lines each ends with its line, so a damaged line stays one line; an
    // object that is written over several lines shows itself by a first line that is not a value yet.
    bool lines = first_line_is_whole();
    while (peek_token()) {
      start_line_ = line_;
      if (lines)
        take_line();
      else
        take_value();
      if (!(lines && damaged_ == DamagedLine::kKeep ? give_any() : give())) return false;
    }
    return true;
  }

 private:
  bool array() {
    step();
    if (!peek_token()) fail_input("{}: the list that begins here never ends", where(line_));
    if (now() == ']')
      step();
    else
      while (true) {
        if (!peek_token()) fail_input("{}: the file ends within its list; is it cut?", where(line_));
        start_line_ = line_;
        take_value();
        if (!give()) return false;
        if (!peek_token()) fail_input("{}: the file ends within its list; is it cut?", where(line_));
        char c = now();
        if (c != ',' && c != ']')
          fail_input("{}: expected , or ] after a record, found {}", where(line_), printable({&c, 1}));
        step();
        if (c == ']') break;
      }
    if (peek_token()) fail_input("{}: text after the end of the list", where(line_));
    return true;
  }

  // An object or list up to its closing bracket, else up to a separator. Strings hide brackets.
  void take_value() {
    value_.clear();
    int64_t depth = 0;
    bool string = false, escape = false, nested = now() == '{' || now() == '[';
    while (more()) {
      char c = now();
      if (!string && depth == 0 && !value_.empty() && (nested || c == ',' || c == ']' || is_space(c))) return;
      append(c);
      step();
      if (string) {
        if (escape)
          escape = false;
        else if (c == '\\')
          escape = true;
        else if (c == '"')
          string = false;
        else if (c == '\n')
          fail_input("{}: a string does not end on its line", where(line_ - 1));
      } else if (c == '"') {
        string = true;
      } else if (c == '{' || c == '[') {
        ++depth;
      } else if (c == '}' || c == ']') {
        --depth;
      }
    }
    if (string || depth > 0)
      fail_input("{}: the record that begins here never ends; is the file cut?", where(start_line_));
  }

  void take_line() {
    value_.clear();
    while (more() && now() != '\n') {
      append(now());
      step();
    }
  }

  bool first_line_is_whole() {
    std::string line;
    for (size_t at = at_; at < piece_.size() && piece_[at] != '\n'; ++at) line += piece_[at];
    // A first record beyond one piece is taken for a line.
    if (at_ + line.size() == piece_.size() || OrderedJson::accept(line) || !ends_open(line)) return true;
    // JSON lines whose first one is damaged: the next is a record of its own.
    size_t next = at_ + line.size() + 1, end = std::min(piece_.find('\n', next), piece_.size());
    std::string_view second = piece_.substr(std::min(next, piece_.size()), end - std::min(next, end));
    return origin_.find(".jsonl") != origin_.npos && second.starts_with('{') && OrderedJson::accept(second);
  }

  // Whether a bracket is still open at the end of a line.
  static bool ends_open(std::string_view line) {
    int64_t depth = 0;
    bool string = false, escape = false;
    for (char c : line) {
      if (string) {
        if (escape)
          escape = false;
        else if (c == '\\')
          escape = true;
        else if (c == '"')
          string = false;
      } else if (c == '"') {
        string = true;
      } else if (c == '{' || c == '[') {
        ++depth;
      } else if (c == '}' || c == ']') {
        --depth;
      }
    }
    return !string && depth > 0;
  }

  bool give() {
    std::string at = where(start_line_);
    return sink_({parse_ordered_json(value_, at, {.reject_duplicate_keys = true}), at, ""});
  }

  bool give_any() {
    std::string at = where(start_line_);
    Record record{{}, at, ""};
    try {
      record.value = parse_ordered_json(value_, at, {.reject_duplicate_keys = true});
    } catch (const Error& error) {
      std::string_view reason = error.what();
      if (reason.starts_with(at)) reason.remove_prefix(at.size());
      reason.remove_prefix(std::min(reason.find_first_not_of(": "), reason.size()));
      record.damage = reason;
    }
    return sink_(std::move(record));
  }

  bool more() {
    if (at_ < piece_.size()) return true;
    piece_ = source_.next();
    at_ = 0;
    return !piece_.empty();
  }
  char now() const { return piece_[at_]; }
  void step() {
    if (piece_[at_++] == '\n') ++line_;
  }
  /// Skips white space; false at the end of the file.
  bool peek_token() {
    while (more()) {
      if (!is_space(now())) return true;
      step();
    }
    return false;
  }
  void append(char c) {
    if (value_.size() >= kMaxRecordBytes)
      fail_input("{}: a record above {} bytes", where(start_line_), kMaxRecordBytes);
    value_ += c;
  }
  std::string where(int64_t line) const { return fmt::format("{}:{}", origin_, line); }

  TextSource& source_;
  const std::string& origin_;
  const RecordSink& sink_;
  DamagedLine damaged_;
  std::string_view piece_;
  size_t at_ = 0;
  int64_t line_ = 1, start_line_ = 1;
  std::string value_;
};

}  // namespace

bool read_json_records(TextSource& source, const std::string& origin, const RecordSink& sink,
                       DamagedLine damaged) {
  return JsonRecords(source, origin, sink, damaged).run();
}

}  // namespace fettle
