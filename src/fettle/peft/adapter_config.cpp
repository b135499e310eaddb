#include "fettle/peft/adapter_config.h"

#include <cmath>

#include "fettle/base/error.h"
#include "fettle/base/file.h"

namespace fettle {
namespace {

void read_modules(const Json& json, const char* key, const std::string& origin,
                  std::vector<std::string>& list, std::string& pattern) {
  if (!json.contains(key) || json[key].is_null()) return;
  const Json& value = json[key];
  if (value.is_string()) {
    pattern = value.get<std::string>();
    return;
  }
  if (!value.is_array()) fail_input("{}: {} must be a list or a regex", origin, key);
  for (const Json& item : value) {
    if (!item.is_string())
      fail_input("{}: {} holds {}, expected module names", origin, key, printable(item.dump(), 40));
    list.push_back(item.get<std::string>());
  }
}

void read_layers(const Json& json, const std::string& origin, TargetSpec& targets) {
  if (json.contains("layers_to_transform") && !json["layers_to_transform"].is_null()) {
    Json value = json["layers_to_transform"];
    if (value.is_number_integer()) value = Json::array({value});
    if (!value.is_array()) fail_input("{}: layers_to_transform must be a number or a list", origin);
    for (const Json& item : value) {
      if (!item.is_number_integer())
        fail_input("{}: layers_to_transform holds {}", origin, printable(item.dump(), 40));
      targets.layers_to_transform.push_back(item.get<int64_t>());
    }
  }
  std::string single;
  read_modules(json, "layers_pattern", origin, targets.layers_pattern, single);
  if (!single.empty()) targets.layers_pattern.push_back(single);
}

template <typename Number>
void read_entries(const AdapterConfig& config, const char* key, double low, double high,
                  std::vector<std::pair<std::string, Number>>& out) {
  constexpr bool kWhole = std::is_integral_v<Number>;
  if (!config.keys.contains(key) || config.keys[key].is_null()) return;
  if (!config.keys[key].is_object()) fail_input("{}: {} must be an object", config.origin, key);
  for (const auto& [pattern, value] : config.keys[key].items()) {
    double number = value.is_number() ? value.template get<double>() : NAN;
    if (!(number >= low && number <= high) || (kWhole && !value.is_number_integer()))
      fail_input("{}: {}[\"{}\"] is {}, expected {} from {} to {}", config.origin, key, printable(pattern),
                 printable(value.dump(), 40), kWhole ? "a rank" : "a number", low, high);
    out.emplace_back(pattern, static_cast<Number>(number));
  }
}

// The file of AdapterHub's library (adapters) in the shape of PEFT's; known are its bottlenecks.
OrderedJson from_adapter_hub(const OrderedJson& file, const std::string& origin) {
  if (!file["config"].is_object() || file["config"].contains("architecture"))
    fail_input("{}: an AdapterHub adapter of architecture {}; known are its bottleneck adapters", origin,
               file["config"].is_object() ? printable(file["config"]["architecture"].dump(), 40) : "(none)");
  OrderedJson keys = file["config"];
  keys["peft_type"] = "BOTTLENECK";
  keys["base_model_name_or_path"] = file.value("model_name", "");
  keys["adapter_name"] = file.value("name", "default");
  return keys;
}

// AdapterHub's adapter_fusion_config.json; the fused adapters are in folders of their names beside it.
OrderedJson from_adapter_fusion(const OrderedJson& file, const std::filesystem::path& folder) {
  const std::string origin = (folder / "adapter_fusion_config.json").string();
  if (!file.is_object() || !file.contains("config") || !file["config"].is_object() ||
      !file.contains("name") || !file["name"].is_string())
    fail_input("{}: expected an object with name and config, as AdapterHub writes it", origin);
  OrderedJson keys = file["config"];
  keys["peft_type"] = "ADAPTER_FUSION";
  keys["base_model_name_or_path"] = file.value("model_name", "");
  keys["adapters"] = OrderedJson::array();
  const std::string names = file["name"].get<std::string>();
  for (size_t begin = 0; begin <= names.size();) {
    size_t end = std::min(names.find(',', begin), names.size());
    std::filesystem::path name = names.substr(begin, end - begin);
    if (name.empty() || name == ".." || name == "." || name.has_parent_path())
      fail_input("{}: name \"{}\" is no list of adapter names", origin, printable(names));
    keys["adapters"].push_back((folder / name).string());
    begin = end + 1;
  }
  return keys;
}

}  // namespace

void read_pattern(const AdapterConfig& config, const char* key,
                  std::vector<std::pair<std::string, int64_t>>& out) {
  read_entries(config, key, 1, 65536, out);
}

void read_pattern(const AdapterConfig& config, const char* key,
                  std::vector<std::pair<std::string, double>>& out) {
  read_entries(config, key, -1e9, 1e9, out);
}

Json whole_or_real(double value) {
  return value == std::floor(value) ? Json(static_cast<int64_t>(value)) : Json(value);
}

bool is_off(const Json& value) {
  return value.is_null() || value == false || (value.is_array() && value.empty()) ||
         (value.is_object() && value.empty()) || value == "none";
}

bool AdapterConfig::is_set(const char* key) const {
  return sorted_.contains(key) && !is_off(sorted_[key]);
}

AdapterConfig AdapterConfig::parse(OrderedJson keys, std::string origin) {
  AdapterConfig config;
  if (!keys.is_object()) fail_input("{}: expected a JSON object", origin);
  if (!keys.contains("peft_type") && keys.contains("config")) keys = from_adapter_hub(keys, origin);
  config.sorted_ = Json::parse(keys.dump());
  config.keys = std::move(keys);
  config.origin = origin;
  ConfigFields fields = config.fields();
  config.peft_type = fields.string("peft_type", std::nullopt);
  config.base_model_name_or_path = fields.string("base_model_name_or_path", "");
  config.task_type = fields.string("task_type", "CAUSAL_LM");
  if (config.task_type != "CAUSAL_LM")
    fail_input("{}: task_type is \"{}\"; only CAUSAL_LM adapters are supported", origin,
               printable(config.task_type));
  const Json& json = config.sorted_;
  read_modules(json, "target_modules", origin, config.targets.modules, config.targets.pattern);
  read_modules(json, "exclude_modules", origin, config.targets.exclude_modules,
               config.targets.exclude_pattern);
  read_layers(json, origin, config.targets);
  config.targets.require_all = false;
  std::string single;
  read_modules(json, "modules_to_save", origin, config.modules_to_save, single);
  if (!single.empty()) config.modules_to_save.push_back(single);
  return config;
}

AdapterConfig AdapterConfig::read(const std::filesystem::path& folder) {
  std::filesystem::path path = folder / "adapter_config.json", fusion = folder / "adapter_fusion_config.json";
  if (!std::filesystem::is_directory(folder)) fail_input("{}: no such adapter folder", folder.string());
  if (!std::filesystem::exists(path) && std::filesystem::exists(fusion))
    return parse(from_adapter_fusion(
                     parse_ordered_json(read_file(fusion, uint64_t{1} << 20), fusion.string()), folder),
                 fusion.string());
  return parse(parse_ordered_json(read_file(path, uint64_t{16} << 20), path.string()), path.string());
}

}  // namespace fettle
