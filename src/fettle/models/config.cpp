#include "fettle/models/config.h"

#include <cmath>
#include <nlohmann/json.hpp>

#include "fettle/base/error.h"

namespace fettle {
namespace fs = std::filesystem;
namespace {

constexpr int64_t kMaxSize = int64_t{1} << 24;

std::string shown(const Json& value) {
  return printable(value.dump(-1, ' ', false, Json::error_handler_t::replace), 60);
}

RotarySpec read_rotary(const Json& json, const ConfigFields& fields, const ModelConfig& config) {
  RotarySpec spec;
  spec.rotary_dim = config.head_dim;
  spec.max_position_embeddings = config.max_position_embeddings;
  spec.theta = fields.number("rope_theta", 10000.0, 1.0, 1e12);
  // Transformers 5 writes rope_parameters, earlier releases rope_scaling.
  const char* key = json.contains("rope_parameters") && !json["rope_parameters"].is_null() ? "rope_parameters"
                                                                                           : "rope_scaling";
  if (!json.contains(key) || json[key].is_null()) return spec;
  const Json& section = json[key];
  if (!section.is_object())
    fail_input("{}: {} is {}, expected an object or null", fields.origin(), key, shown(section));
  ConfigFields rope(section, fields.origin() + ": " + key);
  spec.type = rope.string("rope_type", rope.string("type", "default"));
  spec.theta = rope.number("rope_theta", spec.theta, 1.0, 1e12);
  if (rope.number("partial_rotary_factor", 1.0, 0.0, 1.0) != 1.0)
    fail_input("{}: {}.partial_rotary_factor other than 1 is not supported", fields.origin(), key);
  if (spec.type == "default") return spec;
  if (spec.type != "linear" && spec.type != "dynamic" && spec.type != "llama3" && spec.type != "yarn")
    fail_input("{}: {}.rope_type is \"{}\"; known types: default, linear, dynamic, llama3, yarn",
               fields.origin(), key, printable(spec.type));
  spec.factor = rope.number("factor", std::nullopt, 1.0, 1e6);
  spec.original_max_position_embeddings = rope.integer("original_max_position_embeddings", 0, 0, kMaxSize);
  if (spec.type == "llama3") {
    if (spec.original_max_position_embeddings == 0)
      fail_input("{}: {}.original_max_position_embeddings is missing; llama3 scaling needs it",
                 fields.origin(), key);
    spec.low_freq_factor = rope.number("low_freq_factor", std::nullopt, 1e-6, 1e6);
    spec.high_freq_factor = rope.number("high_freq_factor", std::nullopt, 1e-6, 1e6);
    if (spec.high_freq_factor <= spec.low_freq_factor)
      fail_input("{}: {}.high_freq_factor {} must exceed low_freq_factor {}", fields.origin(), key,
                 spec.high_freq_factor, spec.low_freq_factor);
  } else if (spec.type == "yarn") {
    spec.beta_fast = rope.number("beta_fast", 32.0, 0.0, 1e6);
    spec.beta_slow = rope.number("beta_slow", 1.0, 0.0, 1e6);
    if (spec.beta_fast < spec.beta_slow || spec.beta_slow <= 0)
      fail_input("{}: {}.beta_fast {} must not be below beta_slow {}", fields.origin(), key, spec.beta_fast,
                 spec.beta_slow);
    spec.attention_factor = rope.number("attention_factor", 0.0, 0.0, 1e6);
    spec.mscale = rope.number("mscale", 0.0, 0.0, 1e6);
    spec.mscale_all_dim = rope.number("mscale_all_dim", 0.0, 0.0, 1e6);
    spec.truncate = rope.boolean("truncate", true);
  }
  return spec;
}

std::vector<int32_t> read_ids(const Json& json, const char* key, const std::string& origin) {
  std::vector<int32_t> ids;
  if (!json.contains(key) || json[key].is_null()) return ids;
  auto one = [&](const Json& value) {
    if (!value.is_number_integer() || value.get<double>() < -1 || value.get<double>() > INT32_MAX)
      fail_input("{}: {} holds {}, expected token ids", origin, key, shown(value));
    if (value.get<int64_t>() >= 0) ids.push_back(value.get<int32_t>());
  };
  if (json[key].is_array())
    for (const Json& value : json[key]) one(value);
  else
    one(json[key]);
  return ids;
}

// Sizes by the names of GPT2Config.
void read_gpt2_sizes(const ConfigFields& fields, ModelConfig& config) {
  config.vocab_size = fields.integer("vocab_size", std::nullopt, 1, kMaxSize);
  config.hidden_size = fields.integer("n_embd", std::nullopt, 1, kMaxSize);
  config.intermediate_size = fields.integer("n_inner", 4 * config.hidden_size, 1, kMaxSize);
  config.num_hidden_layers = fields.integer("n_layer", std::nullopt, 1, 4096);
  config.num_attention_heads = config.num_key_value_heads = fields.integer("n_head", std::nullopt, 1, 65536);
  if (config.hidden_size % config.num_attention_heads != 0)
    fail_input("{}: n_embd {} is not divisible by n_head {}", fields.origin(), config.hidden_size,
               config.num_attention_heads);
  config.head_dim = config.hidden_size / config.num_attention_heads;
  config.max_position_embeddings = fields.integer("n_positions", 1024, 1, kMaxSize);
  config.rms_norm_eps = static_cast<float>(fields.number("layer_norm_epsilon", 1e-5, 0.0, 1.0));
  config.tie_word_embeddings = fields.boolean("tie_word_embeddings", true);
  config.initializer_range = fields.number("initializer_range", 0.02, 0.0, 10.0);
}

// Sizes by the names that the Llama family shares.
void read_sizes(const Json& json, const ConfigFields& fields, ModelConfig& config) {
  config.vocab_size = fields.integer("vocab_size", std::nullopt, 1, kMaxSize);
  config.hidden_size = fields.integer("hidden_size", std::nullopt, 1, kMaxSize);
  config.intermediate_size = fields.integer("intermediate_size", std::nullopt, 1, kMaxSize);
  config.num_hidden_layers = fields.integer("num_hidden_layers", std::nullopt, 1, 4096);
  config.num_attention_heads = fields.integer("num_attention_heads", std::nullopt, 1, 65536);
  config.num_key_value_heads = fields.integer("num_key_value_heads", config.num_attention_heads, 1, 65536);
  if (!fields.has("head_dim") && config.hidden_size % config.num_attention_heads != 0)
    fail_input("{}: hidden_size {} is not divisible by num_attention_heads {} and head_dim is not given",
               fields.origin(), config.hidden_size, config.num_attention_heads);
  config.head_dim = fields.integer("head_dim", config.hidden_size / config.num_attention_heads, 2, 65536);
  if (config.head_dim % 2 != 0)
    fail_input("{}: head_dim {} is odd; rotary embedding needs pairs", fields.origin(), config.head_dim);
  if (config.num_attention_heads % config.num_key_value_heads != 0)
    fail_input("{}: num_attention_heads {} is not a multiple of num_key_value_heads {}", fields.origin(),
               config.num_attention_heads, config.num_key_value_heads);
  config.max_position_embeddings = fields.integer("max_position_embeddings", 2048, 1, int64_t{1} << 31);
  config.rms_norm_eps = static_cast<float>(fields.number("rms_norm_eps", 1e-6, 0.0, 1.0));
  config.tie_word_embeddings = fields.boolean("tie_word_embeddings", false);
  config.initializer_range = fields.number("initializer_range", 0.02, 0.0, 10.0);
  std::string activation = fields.string("hidden_act", "silu");
  if (activation != "silu" && activation != "swish")
    fail_input("{}: hidden_act is \"{}\", expected \"silu\"", fields.origin(), printable(activation));
  config.rotary = read_rotary(json, fields, config);
}

}  // namespace

bool ConfigFields::has(const char* key) const {
  return json_.contains(key) && !json_[key].is_null();
}

int64_t ConfigFields::integer(const char* key, std::optional<int64_t> fallback, int64_t low,
                              int64_t high) const {
  if (!has(key)) {
    if (fallback) return *fallback;
    fail_input("{}: {} is missing", origin_, key);
  }
  const Json& value = json_[key];
  bool whole = value.is_number_integer() ||
               (value.is_number_float() && std::floor(value.get<double>()) == value.get<double>());
  double number = whole ? value.get<double>() : 0;
  if (!whole || number < static_cast<double>(low) || number > static_cast<double>(high))
    fail_input("{}: {} is {}, expected a whole number from {} to {}", origin_, key, shown(value), low, high);
  return static_cast<int64_t>(number);
}

double ConfigFields::number(const char* key, std::optional<double> fallback, double low, double high) const {
  if (!has(key)) {
    if (fallback) return *fallback;
    fail_input("{}: {} is missing", origin_, key);
  }
  const Json& value = json_[key];
  if (!value.is_number() || !std::isfinite(value.get<double>()) || value.get<double>() < low ||
      value.get<double>() > high)
    fail_input("{}: {} is {}, expected a number from {} to {}", origin_, key, shown(value), low, high);
  return value.get<double>();
}

bool ConfigFields::boolean(const char* key, bool fallback) const {
  if (!has(key)) return fallback;
  if (!json_[key].is_boolean())
    fail_input("{}: {} is {}, expected true or false", origin_, key, shown(json_[key]));
  return json_[key].get<bool>();
}

std::string ConfigFields::string(const char* key, std::optional<std::string> fallback) const {
  if (!has(key)) {
    if (fallback) return *fallback;
    fail_input("{}: {} is missing", origin_, key);
  }
  if (!json_[key].is_string()) fail_input("{}: {} is {}, expected a string", origin_, key, shown(json_[key]));
  return json_[key].get<std::string>();
}

ModelConfig read_model_config(const fs::path& folder) {
  if (!fs::is_directory(folder))
    fail_input("{}: no such model folder; give the path of a Hugging Face model on disk", folder.string());
  ModelConfig config;
  config.path = folder / "config.json";
  auto raw = std::make_shared<Json>(read_json(config.path));
  const Json& json = *raw;
  std::string origin = config.path.string();
  if (!json.is_object()) fail_input("{}: expected a JSON object", origin);
  config.raw = raw;
  ConfigFields fields(json, origin);
  if (!json.contains("architectures") || !json["architectures"].is_array() || json["architectures"].empty() ||
      !json["architectures"][0].is_string())
    fail_input("{}: architectures is missing; expected a list such as [\"Qwen2ForCausalLM\"]", origin);
  config.architecture = json["architectures"][0].get<std::string>();
  config.model_type = fields.string("model_type", "");
  if (json.contains("quantization_config") && json["quantization_config"].is_object()) {
    std::string method = ConfigFields(json["quantization_config"], origin + ": quantization_config")
                             .string("quant_method", "");
    if (method != "bitsandbytes")
      fail_input("{}: quantization_config: quant_method is \"{}\"; only \"bitsandbytes\" is known", origin,
                 printable(method));
  }

  if (config.model_type == "gpt2")
    read_gpt2_sizes(fields, config);
  else
    read_sizes(json, fields, config);
  std::string dtype = fields.string("dtype", fields.string("torch_dtype", "float32"));
  std::optional<DType> parsed = parse_dtype(dtype);
  if (!parsed || !is_floating(*parsed) || *parsed == DType::kF64)
    fail_input("{}: torch_dtype is \"{}\", expected float32, bfloat16 or float16", origin, printable(dtype));
  config.dtype = *parsed;

  config.eos_token_ids = read_ids(json, "eos_token_id", origin);
  std::vector<int32_t> bos = read_ids(json, "bos_token_id", origin);
  if (!bos.empty()) config.bos_token_id = bos[0];
  fs::path generation = folder / "generation_config.json";
  if (fs::exists(generation)) {
    Json extra = read_json(generation);
    if (extra.is_object())
      if (std::vector<int32_t> ids = read_ids(extra, "eos_token_id", generation.string()); !ids.empty())
        config.eos_token_ids = ids;
  }
  return config;
}

}  // namespace fettle
