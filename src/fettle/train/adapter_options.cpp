#include "fettle/train/adapter_options.h"

#include <charconv>

#include "fettle/base/error.h"
#include "fettle/models/loader.h"

namespace fettle {
namespace {

using Names = std::vector<std::string>;

// A list of names, or one text that is a regex.
void add_modules(OrderedJson& keys, const char* key, const Names& names) {
  if (names.empty()) return;
  if (names.size() == 1 && names[0].find_first_of("*\\[(|^$+?") != std::string::npos)
    keys[key] = names[0];
  else
    keys[key] = names;
}

void add_targets(const Config& c, CausalLM& model, const std::string& method, OrderedJson& keys) {
  const bool own_default = method == "ia3" || method == "ln_tuning";
  const char* option = method == "oft" && c.is_set("oft_target") ? "oft_target" : "lora_target";
  Names targets = c.get<Names>(option);
  if (own_default && !c.is_set(option)) targets.clear();  // PEFT's own
  if (targets.size() == 1 && (targets[0] == "all" || targets[0] == "all-linear"))
    targets = all_linear_suffixes(model);
  add_modules(keys, "target_modules", targets);
  add_modules(keys, "exclude_modules", c.get<Names>("exclude_modules"));
}

std::vector<int64_t> integers(const Config& c, const char* option) {
  std::vector<int64_t> numbers;
  for (const std::string& text : c.get<Names>(option)) {
    int64_t number = 0;
    auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
    if (error != std::errc() || end != text.data() + text.size())
      fail_usage("{} ({}): \"{}\" is not a whole number", option, c.origin(option).text, printable(text));
    numbers.push_back(number);
  }
  return numbers;
}

void add_layers(const Config& c, OrderedJson& keys) {
  std::vector<int64_t> layers = integers(c, "layers_to_transform");
  if (!layers.empty()) keys["layers_to_transform"] = layers;
  Names pattern = c.get<Names>("layers_pattern");
  if (!pattern.empty()) keys["layers_pattern"] = pattern;
}

void add_patterns(const Config& c, OrderedJson& keys) {
  for (const char* key : {"rank_pattern", "alpha_pattern"})
    if (Json pattern = c.object(key); !pattern.is_null()) keys[key] = OrderedJson::parse(pattern.dump());
}

void add_lora(const Config& c, OrderedJson& keys) {
  keys["lora_alpha"] = c.get<double>("lora_alpha");
  keys["lora_dropout"] = c.get<double>("lora_dropout");
}

// Settings of initialisations, under PEFT's names.
void add_init_settings(const Config& c, const std::string& init, OrderedJson& keys) {
  for (auto [key, of] : {std::pair{"eva_config", "eva"}, std::pair{"corda_config", "corda"},
                         std::pair{"lora_ga_config", "lora_ga"}, std::pair{"loftq_config", "loftq"}}) {
    Json given = c.object(key);
    if (given.is_null()) continue;
    if (init != of) fail_usage("{}: only read with init_lora_weights: {}", key, of);
    keys[key] = OrderedJson::parse(given.dump());
  }
  keys["init_samples"] = c.get<int64_t>("init_samples");
  if (init != "loftq") return;
  const QuantizeOptions base = quantize_options(c, 4);
  OrderedJson& loftq = keys["loftq_config"];
  if (!loftq.is_object()) loftq = OrderedJson::object();
  const bool wanted = c.is_set("quantization_bit");
  if (!loftq.contains("loftq_bits")) loftq["loftq_bits"] = base.bits;
  if (wanted && loftq["loftq_bits"] != base.bits)
    fail_usage("loftq_config: loftq_bits {} and quantization_bit {} contradict each other",
               loftq["loftq_bits"].dump(), base.bits);
  loftq["quant_type"] = quant_kind_name(base.kind);
  loftq["blocksize"] = base.blocksize;
  loftq["double_quantization"] = wanted && base.double_quantization;
}

// "0-16": layers 0 to 15.
void add_replication(const Config& c, OrderedJson& keys) {
  Names ranges = c.get<Names>("layer_replication");
  if (ranges.empty()) return;
  OrderedJson list = OrderedJson::array();
  for (const std::string& range : ranges) {
    int64_t first = 0, end = 0;
    const char *begin = range.data(), *stop = begin + range.size();
    auto middle = std::from_chars(begin, stop, first);
    bool good = middle.ec == std::errc() && middle.ptr != stop && *middle.ptr == '-';
    if (good) {
      auto last = std::from_chars(middle.ptr + 1, stop, end);
      good = last.ec == std::errc() && last.ptr == stop;
    }
    if (!good)
      fail_usage("layer_replication ({}): \"{}\" is no range, expected FIRST-END as in 0-16",
                 c.origin("layer_replication").text, printable(range));
    list.push_back({first, end});
  }
  keys["layer_replication"] = list;
}

void add_plain_lora(const Config& c, OrderedJson& keys) {
  keys["r"] = c.get<int64_t>("lora_rank");
  add_lora(c, keys);
  add_patterns(c, keys);
  for (const char* key : {"use_rslora", "use_dora", "lora_bias"}) keys[key] = c.get<bool>(key);
  keys["bias"] = c.get<std::string>("bias");
  std::vector<int64_t> tokens = integers(c, "trainable_token_indices");
  if (!tokens.empty()) keys["trainable_token_indices"] = tokens;
  add_replication(c, keys);
  std::string init = c.get<std::string>("init_lora_weights");
  if (c.get<bool>("pissa_init")) {
    if (c.is_set("init_lora_weights"))
      fail_usage("pissa_init and init_lora_weights contradict each other; drop one of them");
    int64_t rounds = c.get<int64_t>("pissa_iter");
    init = rounds < 0 ? "pissa" : fmt::format("pissa_niter_{}", rounds);
  }
  add_init_settings(c, init, keys);
  if (init == "true" || init == "false")
    keys["init_lora_weights"] = init == "true";
  else
    keys["init_lora_weights"] = init;
}

void add_adalora(const Config& c, OrderedJson& keys) {
  add_lora(c, keys);
  for (const char* key : {"init_r", "target_r", "tinit", "tfinal", "deltaT"}) keys[key] = c.get<int64_t>(key);
  keys["orth_reg_weight"] = c.get<double>("orth_reg_weight");
}

void add_lycoris(const Config& c, OrderedJson& keys) {
  keys["r"] = c.get<int64_t>("lora_rank");
  keys["alpha"] = c.get<double>("lora_alpha");
  add_patterns(c, keys);
  for (const char* key : {"rank_dropout", "module_dropout"}) keys[key] = c.get<double>(key);
}

void add_vera(const Config& c, OrderedJson& keys) {
  keys["r"] = c.get<int64_t>("vera_rank");
  keys["vera_dropout"] = c.get<double>("lora_dropout");
  keys["d_initial"] = c.get<double>("d_initial");
  keys["projection_prng_key"] = c.get<int64_t>("projection_prng_key");
  keys["save_projection"] = c.get<bool>("save_projection");
}

void add_oft(const Config& c, OrderedJson& keys) {
  keys["r"] = c.get<int64_t>("oft_rank");
  // As LLaMA-Factory: a number of blocks takes the place of their size.
  keys["oft_block_size"] =
      c.get<int64_t>("oft_rank") > 0 && !c.is_set("oft_block_size") ? 0 : c.get<int64_t>("oft_block_size");
  for (const char* key : {"coft", "block_share", "use_cayley_neumann"}) keys[key] = c.get<bool>(key);
  keys["eps"] = c.get<double>("oft_eps");
  keys["module_dropout"] = c.get<double>("module_dropout");
  keys["num_cayley_neumann_terms"] = c.get<int64_t>("num_cayley_neumann_terms");
}

// A number of blocks takes the place of their size.
void add_boft(const Config& c, OrderedJson& keys) {
  int64_t count = c.get<int64_t>("boft_block_num");
  keys["boft_block_num"] = count;
  keys["boft_block_size"] = count > 0 && !c.is_set("boft_block_size") ? 0 : c.get<int64_t>("boft_block_size");
  keys["boft_n_butterfly_factor"] = c.get<int64_t>("boft_n_butterfly_factor");
  keys["boft_dropout"] = c.get<double>("boft_dropout");
}

void add_bottleneck(const Config& c, OrderedJson& keys) {
  const std::string type = c.get<std::string>("bottleneck_type");
  const bool houlsby = type == "double_seq_bn", parallel = type == "par_bn";
  keys["mh_adapter"] = houlsby;
  keys["output_adapter"] = true;
  keys["is_parallel"] = parallel;
  keys["original_ln_before"] = type == "seq_bn";
  keys["reduction_factor"] =
      c.is_set("reduction_factor") || !parallel ? c.get<double>("reduction_factor") : 2.0;
  keys["non_linearity"] =
      c.get<std::optional<std::string>>("non_linearity").value_or(houlsby ? "swish" : "relu");
  keys["scaling"] = c.get<std::optional<double>>("bottleneck_scaling").value_or(parallel ? 4.0 : 1.0);
  keys["dropout"] = c.get<double>("bottleneck_dropout");
  keys["init_weights"] = c.get<std::string>("bottleneck_init");
  keys["leave_out"] = integers(c, "leave_out");
  keys["adapterdrop_layers"] = c.get<int64_t>("adapterdrop_layers");
}

// AdapterHub's "dynamic" and "static".
void add_fusion(const Config& c, OrderedJson& keys) {
  const bool dynamic = c.get<std::string>("fusion_type") == "dynamic";
  keys["value"] = keys["regularization"] = keys["value_initialized"] = dynamic;
  keys["adapters"] = c.get<std::optional<std::vector<std::string>>>("adapter_name_or_path")
                         .value_or(std::vector<std::string>());
}

void add_prompt(const Config& c, const std::string& method, const Tokenizer* tokenizer, OrderedJson& keys) {
  keys["num_virtual_tokens"] = c.get<int64_t>("num_virtual_tokens");
  if (std::optional<int64_t> hidden = c.get<std::optional<int64_t>>("encoder_hidden_size"))
    keys["encoder_hidden_size"] = *hidden;
  if (method == "prompt_tuning") {
    keys["prompt_tuning_init"] = c.get<std::string>("prompt_tuning_init");
    std::string text = c.get<std::optional<std::string>>("prompt_tuning_init_text").value_or("");
    if (c.get<std::string>("prompt_tuning_init") != "TEXT") return;
    if (text.empty() || !tokenizer)
      fail_usage(
          "prompt_tuning_init TEXT: give the text as prompt_tuning_init_text, and a model with a tokenizer");
    keys["prompt_tuning_init_text"] = text;
    keys["tokenizer_name_or_path"] = c.get<std::string>("model_name_or_path");
    keys["init_token_ids"] = tokenizer->encode(text, true);
  } else if (method == "p_tuning") {
    keys["encoder_reparameterization_type"] = c.get<std::string>("encoder_reparameterization_type");
    keys["encoder_num_layers"] = c.get<int64_t>("encoder_num_layers");
    keys["encoder_dropout"] = c.get<double>("encoder_dropout");
  } else {
    keys["prefix_projection"] = c.get<bool>("prefix_projection");
    if (c.get<bool>("prefix_init_zero")) keys["init_weights"] = "zero";
  }
}

const char* peft_type(const std::string& method) {
  static const std::map<std::string, const char*> kTypes = {{"lora", "LORA"},
                                                            {"adalora", "ADALORA"},
                                                            {"loha", "LOHA"},
                                                            {"lokr", "LOKR"},
                                                            {"ia3", "IA3"},
                                                            {"vera", "VERA"},
                                                            {"oft", "OFT"},
                                                            {"boft", "BOFT"},
                                                            {"ln_tuning", "LN_TUNING"},
                                                            {"bitfit", "BEFT"},
                                                            {"trainable_tokens", "TRAINABLE_TOKENS"},
                                                            {"prompt_tuning", "PROMPT_TUNING"},
                                                            {"p_tuning", "P_TUNING"},
                                                            {"prefix_tuning", "PREFIX_TUNING"},
                                                            {"bottleneck", "BOTTLENECK"},
                                                            {"adapter_fusion", "ADAPTER_FUSION"}};
  return kTypes.at(method);
}

}  // namespace

AdapterConfig adapter_options(const Config& c, CausalLM& model, const Tokenizer* tokenizer) {
  const std::string method = c.get<std::string>("finetuning_type");
  OrderedJson keys = {{"peft_type", peft_type(method)},
                      {"base_model_name_or_path", c.get<std::string>("model_name_or_path")}};
  const bool prompt = keys["peft_type"].get<std::string>().ends_with("_TUNING") && method != "ln_tuning";
  if (prompt) {
    add_prompt(c, method, tokenizer, keys);
  } else if (method == "bottleneck") {
    add_bottleneck(c, keys);
  } else if (method == "adapter_fusion") {
    add_fusion(c, keys);
  } else if (method == "trainable_tokens") {
    keys["token_indices"] = integers(c, "trainable_token_indices");
  } else {
    add_targets(c, model, method, keys);
    add_layers(c, keys);
  }
  if (method == "lora") add_plain_lora(c, keys);
  if (method == "adalora") add_adalora(c, keys);
  if (method == "loha" || method == "lokr") add_lycoris(c, keys);
  if (method == "lokr") {
    keys["decompose_both"] = c.get<bool>("decompose_both");
    keys["decompose_factor"] = c.get<int64_t>("decompose_factor");
  }
  if (method == "ia3") add_modules(keys, "feedforward_modules", c.get<Names>("feedforward_modules"));
  if (method == "vera") add_vera(c, keys);
  if (method == "oft") add_oft(c, keys);
  if (method == "boft") add_boft(c, keys);
  Names full = c.get<Names>("additional_target");
  if (!full.empty() && (method == "bottleneck" || method == "adapter_fusion"))
    fail_usage("additional_target: AdapterHub's files have no place for modules trained in full");
  if (!full.empty()) keys["modules_to_save"] = full;
  AdapterConfig config = AdapterConfig::parse(std::move(keys), "options");
  config.targets.require_all = true;
  return config;
}

std::function<double(const Parameter&)> loraplus_factors(const Config& c) {
  std::optional<double> ratio = c.get<std::optional<double>>("loraplus_lr_ratio");
  if (!ratio) return {};
  double embedding = c.get<double>("loraplus_lr_embedding") / c.get<double>("learning_rate");
  return [ratio = *ratio, embedding](const Parameter& parameter) {
    if (parameter.name.find("lora_embedding_B") != std::string::npos) return embedding;
    bool b = parameter.name.find("lora_B") != std::string::npos || parameter.shape.size() == 1;
    return b ? ratio : 1.0;
  };
}

std::vector<Parameter*> unfrozen_parameters(const Config& c, CausalLM& model) {
  int64_t layers = model.config().num_hidden_layers, wanted = c.get<int64_t>("freeze_trainable_layers");
  if (wanted == 0 || std::abs(wanted) > layers)
    fail_usage("freeze_trainable_layers ({}): {} of the {} layers of {}",
               c.origin("freeze_trainable_layers").text, wanted, layers, model.config().architecture);
  int64_t first = wanted > 0 ? layers - wanted : 0, end = wanted > 0 ? layers : -wanted;
  Names modules = c.get<Names>("freeze_trainable_modules"), extra = c.get<Names>("freeze_extra_modules");
  bool all = std::find(modules.begin(), modules.end(), "all") != modules.end();
  std::map<std::string, bool> used;
  for (const std::string& name : all ? Names() : modules) used[name] = false;
  for (const std::string& name : extra) used[name] = false;

  std::vector<Parameter*> chosen;
  std::map<std::string, bool> inside, outside;  // what could have been named
  constexpr std::string_view kLayers = ".layers.";
  for (Parameter* parameter : model.parameters()) {
    const std::string& name = parameter->name;
    bool take = false;
    if (size_t at = name.find(kLayers); at != name.npos) {
      int64_t layer = 0;
      const char* begin = name.data() + at + kLayers.size();
      const char* rest = std::from_chars(begin, name.data() + name.size(), layer).ptr + 1;
      std::string module(rest, std::find(rest, name.data() + name.size(), '.'));
      inside[module] = true;
      bool named = std::find(modules.begin(), modules.end(), module) != modules.end();
      if (named) used[module] = true;
      take = layer >= first && layer < end && (all || named);
    } else {
      size_t dot = name.rfind('.');
      size_t start = name.rfind('.', dot - 1);
      std::string module =
          name.substr(start == name.npos ? 0 : start + 1, dot - (start == name.npos ? 0 : start + 1));
      outside[module] = true;
      take = std::find(extra.begin(), extra.end(), module) != extra.end();
      if (take) used[module] = true;
    }
    if (take) chosen.push_back(parameter);
  }
  for (const auto& [name, found] : used)
    if (!found) {
      Names known;
      for (const auto& [module, _] : inside) known.push_back(module);
      for (const auto& [module, _] : outside) known.push_back(module);
      fail_usage("finetuning_type freeze: {} has no module \"{}\"; in its layers and outside there are {}",
                 model.config().architecture, printable(name), fmt::join(known, ", "));
    }
  for (Parameter* parameter : chosen) {
    Tensor f32 = parameter->value.to(DType::kF32, MemoryKind::kWeights);
    parameter->value = f32.shares_storage_with(parameter->value) ? f32.clone(MemoryKind::kWeights) : f32;
  }
  return chosen;
}

}  // namespace fettle
