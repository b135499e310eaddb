// From the text of a value to its type, and back. Internal to base/config.
#pragma once
#include <string>
#include <vector>

#include "fettle/base/config/config.h"

namespace fettle {

struct RawField;

/// A value as a file or the command line gives it, before the schema is asked.
struct RawValue {
  enum class Kind { kNull, kPlain, kQuoted, kList, kMap };
  Kind kind = Kind::kNull;
  std::string text;              ///< kPlain, kQuoted
  std::vector<RawValue> items;   ///< kList
  std::vector<RawField> fields;  ///< kMap
  int line = 0;                  ///< 1-based; 0 when there are no lines
};

/// A key of a kMap.
struct RawField {
  std::string first;
  RawValue second;
};

/// A key of a configuration file.
struct RawEntry {
  std::string key;
  RawValue value;
  int line = 0;
};

/// The top level of a YAML or (by its name ending in .json) JSON file. Error(kBadInput) when the file cannot
/// be read: no such file, above 1 MiB, not UTF-8, syntax, anchors, aliases, tags, more than 64 levels, a key
/// given twice.
std::vector<RawEntry> read_config_file(const std::filesystem::path& path);
/// The same from text; `origin` names the file in messages.
std::vector<RawEntry> parse_yaml_config(const std::string& text, const std::string& origin);
std::vector<RawEntry> parse_json_config(const std::string& text, const std::string& origin);

/// Checks `raw` against `option`. Error(kUsage): "<where>: <key>: …", with the value found and the one
/// expected, or with the reason why it is refused.
OptionValue parse_option_value(const Option& option, const RawValue& raw, const std::string& where);
/// The default of `option`.
OptionValue default_value(const Option& option);
/// One line of YAML that reads back to `value`, also by YAML 1.1 readers.
std::string yaml_text(const Option& option, const OptionValue& value);

}  // namespace fettle
