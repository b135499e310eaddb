// adapter_config.json of LoRA: reading what PEFT writes, refusing what would change the numbers, writing what
// PEFT reads.
#include <cmath>
#include <nlohmann/json.hpp>

#include "fettle/base/error.h"
#include "fettle/base/file.h"
#include "fettle/models/config.h"
#include "fettle/peft/lora.h"

namespace fettle {
namespace {

bool is_off(const Json& value) {
  return value.is_null() || value == false || (value.is_array() && value.empty()) ||
         (value.is_object() && value.empty()) || value == "none";
}

void refuse_variants(const Json& json, const std::string& origin) {
  // Keys that are harmless at any value are left out: inference_mode, revision, peft_version, auto_mapping,
  // megatron_core, init_lora_weights (an initialisation is over once the adapter is saved, but see below),
  // fan_in_fan_out, qalora_group_size.
  for (const char* key :
       {"use_dora", "use_qalora", "alora_invocation_tokens", "velora_config", "monteclora_config",
        "layer_replication", "lora_bias", "target_parameters", "use_bdlora", "arrow_config", "kasa_config",
        "modules_to_save", "trainable_token_indices", "bias", "megatron_config"})
    if (json.contains(key) && !is_off(json[key]))
      fail_input("{}: {} = {}: this variant of LoRA is not supported yet; convert the adapter to plain LoRA",
                 origin, key, printable(json[key].dump(), 60));
  if (json.contains("init_lora_weights") && json["init_lora_weights"].is_string()) {
    std::string init = json["init_lora_weights"].get<std::string>();
    if (init != "gaussian" && init != "eva" && init != "orthogonal")
      fail_input(
          "{}: init_lora_weights = \"{}\" changes the base model; save the adapter with PEFT's "
          "path_initial_model_for_weight_conversion to make it plain LoRA",
          origin, printable(init));
  }
}

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

}  // namespace

int64_t LoraConfig::rank_of(const std::string& path) const {
  for (const auto& [key, rank] : rank_pattern)
    if (matches_pattern_key(key, path)) return rank;
  return r;
}

double LoraConfig::scale_of(const std::string& path) const {
  double alpha = lora_alpha;
  for (const auto& [key, value] : alpha_pattern)
    if (matches_pattern_key(key, path)) {
      alpha = value;
      break;
    }
  double rank = static_cast<double>(rank_of(path));
  return alpha / (use_rslora ? std::sqrt(rank) : rank);
}

LoraConfig read_lora_config(const std::filesystem::path& folder) {
  std::filesystem::path path = folder / "adapter_config.json";
  if (!std::filesystem::is_directory(folder)) fail_input("{}: no such adapter folder", folder.string());
  std::string origin = path.string();
  // rank_pattern is searched in the order of the file, so the order is kept.
  OrderedJson ordered = parse_ordered_json(read_file(path, uint64_t{16} << 20), origin);
  Json json = Json::parse(ordered.dump());
  if (!json.is_object()) fail_input("{}: expected a JSON object", origin);
  ConfigFields fields(json, origin);
  std::string type = fields.string("peft_type", std::nullopt);
  if (type != "LORA") fail_input("{}: peft_type is \"{}\"; known methods: LORA", origin, printable(type));
  refuse_variants(json, origin);
  LoraConfig config;
  config.r = fields.integer("r", 8, 1, 1 << 16);
  config.lora_alpha = fields.number("lora_alpha", 8, -1e9, 1e9);
  config.lora_dropout = fields.number("lora_dropout", 0, 0, 1);
  config.use_rslora = fields.boolean("use_rslora", false);
  config.base_model_name_or_path = fields.string("base_model_name_or_path", "");
  config.task_type = fields.string("task_type", "CAUSAL_LM");
  if (config.task_type != "CAUSAL_LM")
    fail_input("{}: task_type is \"{}\"; only CAUSAL_LM adapters are supported", origin,
               printable(config.task_type));
  read_modules(json, "target_modules", origin, config.targets.modules, config.targets.pattern);
  read_modules(json, "exclude_modules", origin, config.targets.exclude_modules,
               config.targets.exclude_pattern);
  config.targets.require_all = false;
  if (json.contains("layers_to_transform") && !json["layers_to_transform"].is_null()) {
    Json value = json["layers_to_transform"];
    if (value.is_number_integer()) value = Json::array({value});
    if (!value.is_array()) fail_input("{}: layers_to_transform must be a number or a list", origin);
    for (const Json& item : value) {
      if (!item.is_number_integer())
        fail_input("{}: layers_to_transform holds {}", origin, printable(item.dump(), 40));
      config.targets.layers_to_transform.push_back(item.get<int64_t>());
    }
  }
  std::string single;
  read_modules(json, "layers_pattern", origin, config.targets.layers_pattern, single);
  if (!single.empty()) config.targets.layers_pattern.push_back(single);
  for (const char* key : {"rank_pattern", "alpha_pattern"}) {
    if (!ordered.contains(key) || ordered[key].is_null()) continue;
    if (!ordered[key].is_object()) fail_input("{}: {} must be an object", origin, key);
    for (const auto& [pattern, value] : ordered[key].items()) {
      if (!value.is_number()) fail_input("{}: {}[\"{}\"] must be a number", origin, key, printable(pattern));
      double number = value.template get<double>();
      if (std::string_view(key) == "alpha_pattern") {
        config.alpha_pattern.emplace_back(pattern, number);
      } else {
        if (!value.is_number_integer() || number < 1 || number > 65536)
          fail_input("{}: rank_pattern[\"{}\"] is {}, expected a rank from 1 to 65536", origin,
                     printable(pattern), number);
        config.rank_pattern.emplace_back(pattern, static_cast<int64_t>(number));
      }
    }
  }
  return config;
}

Json lora_config_json(const LoraConfig& config) {
  Json ranks = Json::object(), alphas = Json::object();
  for (const auto& [key, rank] : config.rank_pattern) ranks[key] = rank;
  for (const auto& [key, alpha] : config.alpha_pattern) alphas[key] = alpha;
  // PEFT writes alpha as the user gave it: an integer when whole.
  Json alpha = config.lora_alpha == std::floor(config.lora_alpha)
                   ? Json(static_cast<int64_t>(config.lora_alpha))
                   : Json(config.lora_alpha);
  Json targets = config.targets.pattern.empty() ? Json(config.targets.modules) : Json(config.targets.pattern);
  Json layers =
      config.targets.layers_to_transform.empty() ? Json() : Json(config.targets.layers_to_transform);
  Json layers_pattern = config.targets.layers_pattern.empty() ? Json() : Json(config.targets.layers_pattern);
  Json json = {{"alpha_pattern", alphas},
               {"auto_mapping", nullptr},
               {"base_model_name_or_path", config.base_model_name_or_path},
               {"bias", "none"},
               {"fan_in_fan_out", false},
               {"inference_mode", true},
               {"init_lora_weights", true},
               {"layers_pattern", layers_pattern},
               {"layers_to_transform", layers},
               {"loftq_config", Json::object()},
               {"lora_alpha", alpha},
               {"lora_dropout", config.lora_dropout},
               {"megatron_config", nullptr},
               {"megatron_core", "megatron.core"},
               {"modules_to_save", nullptr},
               {"peft_type", "LORA"},
               {"r", config.r},
               {"rank_pattern", ranks},
               {"revision", nullptr},
               {"target_modules", targets},
               {"task_type", config.task_type},
               {"use_dora", false},
               {"use_rslora", config.use_rslora}};
  // Releases before exclude_modules refuse unknown keys, so it is written only when it is needed.
  if (!config.targets.exclude_modules.empty()) json["exclude_modules"] = config.targets.exclude_modules;
  if (!config.targets.exclude_pattern.empty()) json["exclude_modules"] = config.targets.exclude_pattern;
  return json;
}

}  // namespace fettle
