// The keys of LoRA in adapter_config.json: what is read, and what would change the numbers and is refused.
#include <cmath>

#include "fettle/base/error.h"
#include "fettle/peft/embedding_methods.h"
#include "fettle/peft/lora.h"

namespace fettle {
namespace {

// Harmless at any value and left out: inference_mode, revision, peft_version, auto_mapping, megatron_core,
// fan_in_fan_out (the model says how a weight is stored), qalora_group_size, ensure_weight_tying, and the
// settings of initialisations, which are over once an adapter is saved.
void refuse_variants(const AdapterConfig& config) {
  for (const char* key :
       {"use_qalora", "alora_invocation_tokens", "velora_config", "monteclora_config", "target_parameters",
        "use_bdlora", "arrow_config", "kasa_config", "megatron_config"})
    if (config.is_set(key))
      fail_input("{}: {} = {}: this variant of LoRA is not supported; convert the adapter to plain LoRA",
                 config.origin, key, printable(config.sorted()[key].dump(), 60));
}

// [[0, 4], [2, 5]]: layers 0 1 2 3 2 3 4.
std::vector<std::pair<int64_t, int64_t>> read_ranges(const AdapterConfig& config) {
  std::vector<std::pair<int64_t, int64_t>> ranges;
  if (!config.is_set("layer_replication")) return ranges;
  const Json& list = config.sorted()["layer_replication"];
  auto bad = [&] {
    fail_input("{}: layer_replication is {}, expected pairs of layers [[first, end], …]", config.origin,
               printable(list.dump(), 60));
  };
  if (!list.is_array()) bad();
  for (const Json& pair : list) {
    if (!pair.is_array() || pair.size() != 2 || !pair[0].is_number_integer() || !pair[1].is_number_integer())
      bad();
    ranges.emplace_back(pair[0].get<int64_t>(), pair[1].get<int64_t>());
  }
  return ranges;
}

}  // namespace

int64_t LoraConfig::rank_of(const std::string& path) const {
  return pattern_value(rank_pattern, path, r);
}

double LoraConfig::scale_of(const std::string& path) const {
  double rank = static_cast<double>(rank_of(path));
  return pattern_value(alpha_pattern, path, lora_alpha) / (use_rslora ? std::sqrt(rank) : rank);
}

LoraConfig parse_lora_config(const AdapterConfig& config) {
  refuse_variants(config);
  ConfigFields fields = config.fields();
  LoraConfig lora;
  lora.r = fields.integer("r", 8, 1, 1 << 16);
  lora.lora_alpha = fields.number("lora_alpha", 8, -1e9, 1e9);
  lora.lora_dropout = fields.number("lora_dropout", 0, 0, 1);
  lora.use_rslora = fields.boolean("use_rslora", false);
  lora.use_dora = fields.boolean("use_dora", false);
  lora.lora_bias = fields.boolean("lora_bias", false);
  lora.bias = fields.string("bias", "none");
  if (lora.bias != "none" && lora.bias != "all" && lora.bias != "lora_only")
    fail_input("{}: bias is \"{}\", expected none, all or lora_only", config.origin, printable(lora.bias));
  if (lora.use_dora && lora.lora_bias)
    fail_input("{}: use_dora and lora_bias exclude each other", config.origin);
  if (config.sorted().contains("init_lora_weights")) {
    const Json& init = config.sorted()["init_lora_weights"];
    if (init.is_string())
      lora.init = init.get<std::string>();
    else if (init.is_boolean())
      lora.init = init.get<bool>() ? "true" : "false";
    else
      fail_input("{}: init_lora_weights is {}, expected true, false or a name", config.origin,
                 printable(init.dump(), 40));
  }
  lora.layer_replication = read_ranges(config);
  lora.trainable_tokens = read_token_indices(config, "trainable_token_indices");
  if (config.peft_type == "ADALORA") return lora;  // its rank_pattern holds masks
  read_pattern(config, "rank_pattern", lora.rank_pattern);
  read_pattern(config, "alpha_pattern", lora.alpha_pattern);
  return lora;
}

}  // namespace fettle
