#include "fettle/peft/bottleneck.h"

#include <cmath>

#include "fettle/base/error.h"
#include "fettle/base/file.h"
#include "fettle/base/random.h"
#include "fettle/formats/safetensors.h"
#include "fettle/peft/methods.h"

namespace fettle {
namespace {

using Input = BottleneckConfig::Input;

Activation activation_of(const std::string& name, const std::string& origin) {
  if (name == "relu") return Activation::kRelu;
  if (name == "swish" || name == "silu") return Activation::kSilu;
  if (name == "gelu") return Activation::kGelu;
  if (name == "gelu_new" || name == "gelu_pytorch_tanh") return Activation::kGeluTanh;
  if (name == "tanh") return Activation::kTanh;
  if (name == "sigmoid") return Activation::kSigmoid;
  fail_input("{}: non_linearity is \"{}\"; known: relu, swish, gelu, gelu_new, tanh, sigmoid", origin,
             printable(name));
}

BottleneckConfig parse(const AdapterConfig& config) {
  ConfigFields fields = config.fields();
  const Json& json = config.sorted();
  // What would change the arithmetic and is not here.
  for (const char* key : {"ln_before", "ln_after", "use_gating", "phm_layer", "cross_adapter", "inv_adapter",
                          "adapter_residual_before_ln"})
    if (config.is_set(key))
      fail_input("{}: {} is {}, which is not supported", config.origin, key, printable(json[key].dump(), 40));
  if (!fields.boolean("original_ln_after", true) ||
      (json.contains("residual_before_ln") && json["residual_before_ln"] != true))
    fail_input("{}: original_ln_after and residual_before_ln other than true are not supported",
               config.origin);
  if (fields.number("stochastic_depth", 0, 0, 1) != 0)
    fail_input("{}: stochastic_depth is not supported", config.origin);
  BottleneckConfig b;
  b.mh_adapter = fields.boolean("mh_adapter", false);
  b.output_adapter = fields.boolean("output_adapter", true);
  if (!b.mh_adapter && !b.output_adapter)
    fail_input("{}: mh_adapter and output_adapter are both false", config.origin);
  if (json.contains("reduction_factor") && json["reduction_factor"].is_object())
    b.per_layer_factor = json["reduction_factor"];
  else
    b.reduction_factor = fields.number("reduction_factor", 16.0, 1e-3, 1e6);
  b.non_linearity = fields.string("non_linearity", "relu");
  b.activation = activation_of(b.non_linearity, config.origin);
  if (fields.boolean("is_parallel", false))
    b.input = Input::kResidual;
  else
    b.input = fields.boolean("original_ln_before", false) ? Input::kSum : Input::kOutput;
  b.scaling = fields.number("scaling", 1.0, -1e6, 1e6);
  b.dropout = fields.number("dropout", 0.0, 0.0, 0.999);
  b.init_weights = fields.string("init_weights", "bert");
  b.adapterdrop_layers = fields.integer("adapterdrop_layers", 0, 0, 4096);
  if (json.contains("leave_out") && !json["leave_out"].is_null()) {
    if (!json["leave_out"].is_array()) fail_input("{}: leave_out must be a list of layers", config.origin);
    for (const Json& layer : json["leave_out"]) {
      if (!layer.is_number_integer())
        fail_input("{}: leave_out holds {}", config.origin, printable(layer.dump(), 40));
      b.leave_out.insert(layer.get<int64_t>());
    }
  }
  return b;
}

// torch.nn.init.trunc_normal_(std=0.01, a=-0.02, b=0.02).
void fill_truncated(Parameter& parameter, uint64_t seed) {
  RandomStream stream({seed, RandomUse::kInit, random_site(parameter.name), 0});
  for (float& value : parameter.value.span<float>()) {
    double x = 0;
    do x = stream.normal();
    while (std::abs(x) > 2);
    value = static_cast<float>(0.01 * x);
  }
}

}  // namespace

Bottleneck::Bottleneck(const std::string& path, int64_t hidden, int64_t width, const BottleneckConfig& config,
                       int64_t layer)
    : down(adapter_parameter(path + ".adapter_down.0.weight", {width, hidden})),
      down_bias(adapter_parameter(path + ".adapter_down.0.bias", {width})),
      up(adapter_parameter(path + ".adapter_up.weight", {hidden, width})),
      up_bias(adapter_parameter(path + ".adapter_up.bias", {hidden})),
      config_(config),
      layer_(layer),
      site_(random_site(path)) {}

Var Bottleneck::input(Context& context, const Var& output, const Var& residual) const {
  return config_.input == Input::kOutput ? output
         : config_.input == Input::kSum  ? add(context, output, residual)
                                         : residual;
}

Var Bottleneck::change(Context& context, const Var& x) const {
  Var inner = activate(context, config_.activation, linear(context, x, *down, down_bias.get()));
  Var change = linear(context, inner, *up, up_bias.get());
  return config_.scaling == 1 ? change : scale(context, change, static_cast<float>(config_.scaling));
}

Var Bottleneck::forward(Context& context, const Var& output, const Var& residual) {
  if (context.training && layer_ < dropped_layers(context)) return output;
  Var changed = change(context, input(context, output, residual));
  return add(context, output, dropout(context, changed, static_cast<float>(config_.dropout), site_));
}

// The same for all layers of a micro-batch, also when it is recomputed.
int64_t Bottleneck::dropped_layers(const Context& context) const {
  if (config_.adapterdrop_layers == 0) return 0;
  RandomStream stream({context.seed, RandomUse::kDropout, random_site("adapterdrop"), context.step});
  return static_cast<int64_t>(stream.below(static_cast<uint64_t>(config_.adapterdrop_layers) + 1));
}

BottleneckAdapter::BottleneckAdapter(CausalLM& model, AdapterConfig config)
    : Adapter(model, std::move(config)),
      b_(parse(config_)),
      name_(config_.fields().string("adapter_name", "default")) {}

BottleneckAdapter::~BottleneckAdapter() {
  for (Site& site : sites_) std::erase(*site.place, std::static_pointer_cast<SublayerMethod>(site.method));
}

std::string BottleneckAdapter::description() const {
  const char* kind = b_.input == Input::kResidual ? "parallel"
                     : b_.mh_adapter              ? "double sequential"
                                                  : "sequential";
  return fmt::format("bottleneck adapter, {}, width {}", kind,
                     sites_.empty() ? 0 : sites_.front().method->down->shape[0]);
}

void BottleneckAdapter::save(const std::filesystem::path& folder) const {
  std::map<std::string, Tensor> tensors;
  for (const Site& site : sites_)
    for (Parameter* p : site.method->parameters()) {
      std::string key = p->name;
      size_t at = key.find("_adapters.") + 10;
      tensors[key.substr(0, at) + "adapters." + name_ + "." + key.substr(at)] = p->value;
    }
  write_safetensors(folder / "adapter.safetensors", tensors);
  const ModelConfig& m = model_.config();
  Json json = {{"config", saved_keys()},        {"hidden_size", m.hidden_size},
               {"model_class", m.architecture}, {"model_name", config_.base_model_name_or_path},
               {"model_type", m.model_type},    {"name", name_},
               {"version", "adapters.1.3.0"}};
  write_file_atomically(folder / "adapter_config.json", json.dump(2));
  write_file_atomically(
      folder / "README.md",
      fmt::format("# Adapter\n\n{}, trained with Fettle. Load it with AdapterHub's adapters:\n\n"
                  "    model.load_adapter(\"<this folder>\", use_safetensors=True)\n\nor talk to it with\n\n"
                  "    fettle chat --model {} --adapter <this folder>\n",
                  description(), config_.base_model_name_or_path));
}

void BottleneckAdapter::mount() {
  std::vector<Sublayers*> layers = model_.sublayers();
  for (size_t i = 0; i < layers.size(); ++i) {
    if (b_.leave_out.contains(static_cast<int64_t>(i))) continue;
    if (b_.mh_adapter) place(layers[i]->after_attention, layers[i]->path + ".attention_adapters", i);
    if (b_.output_adapter) place(layers[i]->after_mlp, layers[i]->path + ".output_adapters", i);
  }
  if (sites_.empty()) fail_usage("bottleneck: leave_out names every layer");
}

void BottleneckAdapter::initialise(uint64_t seed) {
  for (Site& site : sites_) {
    Bottleneck& m = *site.method;
    if (b_.init_weights == "bert") {
      fill_normal(*m.down, 0.02, seed);
      fill_normal(*m.up, 0.02, seed);
    } else if (b_.init_weights == "houlsby") {
      fill_truncated(*m.down, seed);
      fill_truncated(*m.up, seed);
    } else if (b_.init_weights == "mam_adapter") {
      fill_kaiming_uniform(*m.down, seed);  // up stays zero: the identity
    } else {
      fail_usage("init_weights \"{}\": known are mam_adapter (starts as the identity), bert, houlsby",
                 printable(b_.init_weights));
    }
  }
}

std::vector<Parameter*> BottleneckAdapter::own_parameters() const {
  std::vector<Parameter*> all;
  for (const Site& site : sites_)
    for (Parameter* parameter : site.method->parameters()) all.push_back(parameter);
  return all;
}

void BottleneckAdapter::activate(bool active) {
  for (Site& site : sites_) site.method->active = active;
}

Json BottleneckAdapter::saved_keys() const {
  Json keys = {{"adapter_residual_before_ln", false},
               {"cross_adapter", false},
               {"dropout", b_.dropout},
               {"factorized_phm_W", true},
               {"factorized_phm_rule", false},
               {"hypercomplex_nonlinearity", "glorot-uniform"},
               {"init_weights", b_.init_weights},
               {"init_weights_seed", nullptr},
               {"inv_adapter", nullptr},
               {"inv_adapter_reduction_factor", nullptr},
               {"is_parallel", b_.input == Input::kResidual},
               {"learn_phm", true},
               {"leave_out", b_.leave_out},
               {"ln_after", false},
               {"ln_before", false},
               {"mh_adapter", b_.mh_adapter},
               {"non_linearity", b_.non_linearity},
               {"original_ln_after", true},
               {"original_ln_before", b_.input == Input::kSum},
               {"output_adapter", b_.output_adapter},
               {"phm_bias", true},
               {"phm_c_init", "normal"},
               {"phm_dim", 4},
               {"phm_init_range", 0.0001},
               {"phm_layer", false},
               {"phm_rank", 1},
               {"reduction_factor",
                b_.per_layer_factor.is_null() ? whole_or_real(b_.reduction_factor) : b_.per_layer_factor},
               {"residual_before_ln", true},
               {"scaling", b_.scaling},
               {"shared_W_phm", false},
               {"shared_phm_rule", true},
               {"stochastic_depth", 0.0},
               {"use_gating", false}};
  return keys;
}

std::shared_ptr<Bottleneck> BottleneckAdapter::at(
    const std::vector<std::shared_ptr<SublayerMethod>>& place) const {
  for (const Site& site : sites_)
    if (site.place == &place) return site.method;
  return nullptr;
}

double BottleneckAdapter::factor_of(size_t layer) const {
  if (b_.per_layer_factor.is_null()) return b_.reduction_factor;
  ConfigFields factors(b_.per_layer_factor, config_.origin + ": reduction_factor");
  std::string key = std::to_string(layer);
  return factors.number(factors.has(key.c_str()) ? key.c_str() : "default", std::nullopt, 1e-3, 1e6);
}

void BottleneckAdapter::place(std::vector<std::shared_ptr<SublayerMethod>>& at, const std::string& path,
                              size_t layer) {
  const int64_t hidden = model_.config().hidden_size;
  double width = std::floor(static_cast<double>(hidden) / factor_of(layer));
  if (width > 1 << 20)
    fail_usage("reduction_factor {}: the bottleneck would be {} wide", factor_of(layer), width);
  auto method = std::make_shared<Bottleneck>(path, hidden, std::max<int64_t>(1, static_cast<int64_t>(width)),
                                             b_, static_cast<int64_t>(layer));
  at.push_back(method);
  sites_.push_back({&at, method});
}

std::unique_ptr<Adapter> make_bottleneck(CausalLM& model, AdapterConfig config) {
  return std::make_unique<BottleneckAdapter>(model, std::move(config));
}

}  // namespace fettle
