// adapter_config.json: what every method shares, and access to a method's own keys.
#pragma once
#include <nlohmann/json.hpp>

#include <filesystem>
#include <string>
#include <vector>

#include "fettle/base/json.h"
#include "fettle/models/config.h"
#include "fettle/peft/targets.h"

namespace fettle {

/// An adapter_config.json as read from a folder or made from the options of a run.
struct AdapterConfig {
  std::string peft_type;  ///< "LORA", "IA3" …
  std::string base_model_name_or_path;
  std::string task_type = "CAUSAL_LM";
  TargetSpec targets;  ///< empty: the method's default for the model
  std::vector<std::string> modules_to_save;
  OrderedJson keys = OrderedJson::object();  ///< all keys as they stand; patterns keep their order
  std::string origin;                        ///< file, for messages

  /// The method's own fields with their bounds.
  ConfigFields fields() const { return {sorted_, origin}; }
  const Json& sorted() const { return sorted_; }
  bool is_set(const char* key) const;

  /// Checks the shared keys. Error(kBadInput) naming `origin` and the key.
  static AdapterConfig parse(OrderedJson keys, std::string origin);
  /// <folder>/adapter_config.json.
  static AdapterConfig read(const std::filesystem::path& folder);

 private:
  Json sorted_ = Json::object();
};

/// rank_pattern (whole numbers from 1) or alpha_pattern: module patterns in the order of the file.
void read_pattern(const AdapterConfig& config, const char* key,
                  std::vector<std::pair<std::string, int64_t>>& out);
void read_pattern(const AdapterConfig& config, const char* key,
                  std::vector<std::pair<std::string, double>>& out);
/// The first entry whose key matches the end of `path` as PEFT's patterns do, else `fallback`.
template <typename Number>
Number pattern_value(const std::vector<std::pair<std::string, Number>>& pattern, const std::string& path,
                     Number fallback) {
  for (const auto& [key, value] : pattern)
    if (matches_pattern_key(key, path)) return value;
  return fallback;
}
template <typename Number>
Json pattern_json(const std::vector<std::pair<std::string, Number>>& pattern) {
  Json json = Json::object();
  for (const auto& [key, value] : pattern) json[key] = value;
  return json;
}
/// As PEFT writes a number that the user gave: an integer when whole.
Json whole_or_real(double value);
/// A key whose value asks for nothing: null, false, "none", an empty list or object.
bool is_off(const Json& value);

}  // namespace fettle
