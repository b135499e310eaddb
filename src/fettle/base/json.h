// JSON read from outside: parsed with bounds and with errors that name the file and the line.
#pragma once
#include <nlohmann/json_fwd.hpp>

#include <filesystem>
#include <string>
#include <string_view>

namespace fettle {

using Json = nlohmann::json;                 ///< keys sorted, as PEFT's files are
using OrderedJson = nlohmann::ordered_json;  ///< keys as written; linear look-up, so only for small objects

struct JsonLimits {
  int max_depth = 256;
  bool reject_duplicate_keys = false;
};

/// Parses one JSON text. `origin` (a path, perhaps with ":line") starts every error message. Invalid UTF-8,
/// trailing text, too deep nesting: Error(kBadInput) with the line and column.
Json parse_json(std::string_view text, const std::string& origin, const JsonLimits& limits = {});
OrderedJson parse_ordered_json(std::string_view text, const std::string& origin,
                               const JsonLimits& limits = {});
Json read_json(const std::filesystem::path& path, const JsonLimits& limits = {});

}  // namespace fettle
