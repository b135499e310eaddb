// Configuration files. YAML is read by its events, never as a tree, so that anchors, aliases and depth are
// refused before they cost anything.
#include <fmt/format.h>
#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/exceptions.h>
#include <yaml-cpp/mark.h>
#include <yaml-cpp/parser.h>

#include <nlohmann/json.hpp>
#include <sstream>
#include <unordered_map>

#include "fettle/base/config/values.h"
#include "fettle/base/error.h"
#include "fettle/base/file.h"
#include "fettle/base/utf8.h"

namespace fettle {
namespace {

constexpr uint64_t kMaxBytes = 1 << 20;
constexpr size_t kMaxDepth = 64;
constexpr size_t kMaxKeys = 4096;

using Kind = RawValue::Kind;

int line_of(const YAML::Mark& mark) {
  return mark.line + 1;
}

class ConfigHandler : public YAML::EventHandler {
 public:
  explicit ConfigHandler(const std::string& origin) : origin_(origin) {}
  std::vector<RawEntry> entries;

  void OnDocumentStart(const YAML::Mark& mark) override {
    if (documents_++ > 0) fail(mark, "a second document starts; a configuration is one document");
  }
  void OnDocumentEnd() override {}
  void OnNull(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    refuse_anchor(mark, anchor);
    add(mark, scalar(Kind::kNull, "", mark));
  }
  void OnAlias(const YAML::Mark& mark, YAML::anchor_t) override {
    fail(mark, "YAML aliases (*name) are refused; write the value out");
  }
  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                const std::string& value) override {
    refuse_anchor(mark, anchor);
    refuse_tag(mark, tag);
    const bool is_null = tag != "!" && (value.empty() || value == "~" || value == "null" || value == "Null" ||
                                        value == "NULL");
    if (value.find('\0') != value.npos) fail(mark, "a value contains a NUL character");
    add(mark, scalar(is_null ? Kind::kNull : tag == "!" ? Kind::kQuoted : Kind::kPlain, value, mark));
  }
  void OnSequenceStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                       YAML::EmitterStyle::value) override {
    open(mark, tag, anchor, Kind::kList);
  }
  void OnSequenceEnd() override { close(); }
  void OnMapStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                  YAML::EmitterStyle::value) override {
    open(mark, tag, anchor, Kind::kMap);
  }
  void OnMapEnd() override { close(); }

 private:
  struct Level {
    RawValue value;
    std::unordered_map<std::string, int> lines;  // of the keys, for maps
    std::string key;
    int key_line = 0;
    bool has_key = false;
  };

  [[noreturn]] void fail(const YAML::Mark& mark, std::string_view what) const {
    fail_input("{}:{}: {}", origin_, line_of(mark), what);
  }
  void refuse_anchor(const YAML::Mark& mark, YAML::anchor_t anchor) const {
    if (anchor != 0) fail(mark, "YAML anchors (&name) are refused; write the value out");
  }
  void refuse_tag(const YAML::Mark& mark, const std::string& tag) const {
    if (tag.empty() || tag == "?" || tag == "!") return;
    fail(mark, fmt::format("the YAML tag \"{}\" is refused; write the plain value", printable(tag)));
  }
  static RawValue scalar(Kind kind, const std::string& text, const YAML::Mark& mark) {
    RawValue raw;
    raw.kind = kind;
    raw.text = text;
    raw.line = line_of(mark);
    return raw;
  }
  void open(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor, Kind kind) {
    refuse_anchor(mark, anchor);
    refuse_tag(mark, tag);
    if (levels_.size() >= kMaxDepth)
      fail(mark, fmt::format("nested deeper than {} levels; keys of a configuration stand side by side",
                             kMaxDepth));
    if (levels_.empty() && kind != Kind::kMap) fail(mark, "expected `key: value` lines, found a list");
    if (!levels_.empty() && levels_.back().value.kind == Kind::kMap && !levels_.back().has_key)
      fail(mark, "expected a key, found a list or a map");
    Level level;
    level.value.kind = kind;
    level.value.line = line_of(mark);
    levels_.push_back(std::move(level));
  }
  void close() {
    RawValue value = std::move(levels_.back().value);
    levels_.pop_back();
    if (!levels_.empty()) attach(std::move(value));
  }
  void add(const YAML::Mark& mark, RawValue value) {
    if (levels_.empty()) {
      if (value.kind == Kind::kNull) return;  // an empty file
      fail(mark, fmt::format("expected `key: value` lines, found \"{}\"", printable(value.text)));
    }
    Level& top = levels_.back();
    if (top.value.kind != Kind::kMap || top.has_key) return attach(std::move(value));
    if (value.kind == Kind::kNull) fail(mark, "a key is empty");
    const auto [seen, fresh] = top.lines.emplace(value.text, line_of(mark));
    if (!fresh)
      fail(mark,
           fmt::format("the key {} is given twice (first on line {})", printable(value.text), seen->second));
    if (top.lines.size() > kMaxKeys) fail(mark, fmt::format("more than {} keys", kMaxKeys));
    top.key = value.text;
    top.key_line = line_of(mark);
    top.has_key = true;
  }
  void attach(RawValue value) {
    Level& top = levels_.back();
    if (top.value.kind == Kind::kList) {
      top.value.items.push_back(std::move(value));
      return;
    }
    top.has_key = false;
    if (levels_.size() == 1)
      entries.push_back({top.key, std::move(value), top.key_line});
    else
      top.value.fields.push_back({top.key, std::move(value)});
  }

  const std::string& origin_;
  std::vector<Level> levels_;
  int documents_ = 0;
};

RawValue from_json(const Json& value, int line) {
  RawValue raw;
  raw.line = line;
  if (value.is_null()) {
    raw.kind = Kind::kNull;
  } else if (value.is_string()) {
    raw.kind = Kind::kQuoted;
    raw.text = value.get<std::string>();
  } else if (value.is_array()) {
    raw.kind = Kind::kList;
    for (const Json& item : value) raw.items.push_back(from_json(item, line));
  } else if (value.is_object()) {
    raw.kind = Kind::kMap;
    for (const auto& [key, field] : value.items()) raw.fields.push_back({key, from_json(field, line)});
  } else {
    raw.kind = Kind::kPlain;
    raw.text = value.dump();
  }
  return raw;
}

// The lines of the top-level keys of valid JSON text, which the parser does not tell. A key that occurs twice
// is refused.
std::unordered_map<std::string, int> json_key_lines(std::string_view text, const std::string& origin) {
  std::unordered_map<std::string, int> lines;
  int depth = 0, line = 1;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (c == '\n') ++line;
    if (c == '{' || c == '[') ++depth;
    if (c == '}' || c == ']') --depth;
    if (c != '"') continue;
    const size_t begin = i++;
    while (i < text.size() && text[i] != '"') i += text[i] == '\\' ? 2 : 1;
    const size_t after = std::min(text.find_first_not_of(" \t\r\n", i + 1), text.size() - 1);
    if (depth != 1 || text[after] != ':') continue;
    const std::string key = Json::parse(text.substr(begin, i + 1 - begin)).get<std::string>();
    const auto [seen, fresh] = lines.emplace(key, line);
    if (!fresh)
      fail_input("{}:{}: the key {} is given twice (first on line {})", origin, line, printable(key),
                 seen->second);
    if (lines.size() > kMaxKeys) fail_input("{}:{}: more than {} keys", origin, line, kMaxKeys);
  }
  return lines;
}

}  // namespace

std::vector<RawEntry> parse_yaml_config(const std::string& text, const std::string& origin) {
  const size_t bad = first_invalid_utf8(text);
  if (bad != std::string::npos) fail_input("{}: not UTF-8 at byte {}", origin, bad);
  if (text.find('\0') != text.npos)
    fail_input("{}: contains a NUL byte at {}; not a text file", origin, text.find('\0'));
  ConfigHandler handler(origin);
  try {
    std::istringstream stream(text);
    YAML::Parser parser(stream);
    while (parser.HandleNextDocument(handler)) {
    }
  } catch (const YAML::Exception& error) {
    fail_input("{}:{}: invalid YAML: {}", origin, line_of(error.mark), error.msg);
  }
  return std::move(handler.entries);
}

std::vector<RawEntry> parse_json_config(const std::string& text, const std::string& origin) {
  const Json root = parse_json(text, origin, {.max_depth = static_cast<int>(kMaxDepth)});
  if (!root.is_object()) fail_input("{}: expected a JSON object of options", origin);
  const auto lines = json_key_lines(text, origin);
  std::vector<RawEntry> entries;
  for (const auto& [key, value] : root.items()) {
    const auto line = lines.find(key);
    const int number = line == lines.end() ? 0 : line->second;
    entries.push_back({key, from_json(value, number), number});
  }
  return entries;
}

std::vector<RawEntry> read_config_file(const std::filesystem::path& path) {
  const std::string text = read_file(path, kMaxBytes);
  return path.extension() == ".json" ? parse_json_config(text, path.string())
                                     : parse_yaml_config(text, path.string());
}

}  // namespace fettle
