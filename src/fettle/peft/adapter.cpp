#include "fettle/peft/adapter.h"

#include <cmath>

#include "fettle/base/error.h"
#include "fettle/base/random.h"
#include "fettle/peft/dense_weight.h"
#include "fettle/peft/methods.h"

namespace fettle {
namespace {

// PEFT's _set_trainable: the end of the path, so "norm" also names every input_layernorm.
bool named(const std::string& path, const std::string& module) {
  return path.ends_with(module);
}

}  // namespace

std::shared_ptr<Parameter> adapter_parameter(const std::string& name, Shape shape) {
  auto parameter = std::make_shared<Parameter>(name, std::move(shape));
  parameter->kind = MemoryKind::kAdapters;
  parameter->value = Tensor::zeros(parameter->shape, DType::kF32, MemoryKind::kAdapters);
  return parameter;
}

// FNV-1a.
uint32_t random_site(const std::string& path) {
  uint32_t hash = 2166136261u;
  for (unsigned char c : path) hash = (hash ^ c) * 16777619u;
  return hash;
}

void fill_uniform(Parameter& parameter, double bound, uint64_t seed) {
  RandomStream stream({seed, RandomUse::kInit, random_site(parameter.name), 0});
  for (float& value : parameter.value.span<float>())
    value = (2.0f * stream.uniform() - 1.0f) * static_cast<float>(bound);
}

void fill_kaiming_uniform(Parameter& parameter, uint64_t seed) {
  fill_uniform(parameter, 1.0 / std::sqrt(static_cast<double>(parameter.shape.back())), seed);
}

void fill_normal(Parameter& parameter, double deviation, uint64_t seed) {
  RandomStream stream({seed, RandomUse::kInit, random_site(parameter.name), 0});
  for (float& value : parameter.value.span<float>()) value = static_cast<float>(deviation * stream.normal());
}

void fill_value(Parameter& parameter, float value) {
  for (float& v : parameter.value.span<float>()) v = value;
}

std::unique_ptr<Adapter> Adapter::create(CausalLM& model, AdapterConfig config, uint64_t seed,
                                         const Calibration* calibration) {
  AdapterMaker make = adapter_kind(config).make;
  std::unique_ptr<Adapter> adapter = make(model, std::move(config));
  adapter->calibrate(calibration, seed);
  adapter->mount();
  adapter->initialise(seed);
  adapter->replace_modules(adapter->config_.modules_to_save);
  return adapter;
}

Adapter::~Adapter() {
  for (auto r = replacements_.rbegin(); r != replacements_.rend(); ++r) *r->place = r->original;
}

std::vector<Parameter*> Adapter::parameters() const {
  std::vector<Parameter*> all = own_parameters();
  for (const Replacement& r : replacements_) all.push_back(r.copy.get());
  return all;
}

int64_t Adapter::parameter_count() const {
  int64_t count = 0;
  for (const Parameter* parameter : parameters()) count += parameter->numel();
  return count;
}

void Adapter::set_trainable(bool trainable) {
  for (Parameter* parameter : parameters()) parameter->trainable = trainable;
}

void Adapter::set_active(bool active) {
  active_ = active;
  activate(active);
  for (Replacement& r : replacements_) *r.place = active ? r.copy : r.original;
}

void Adapter::set_weight(double weight) {
  if (weight != 1)
    if (std::string what = acts_beside_linears(); !what.empty())
      fail_usage("{} cannot have a weight: {}", description(), what);
  apply_weight(static_cast<float>(weight));
}

Parameter& Adapter::replace(std::shared_ptr<Parameter>& place, const std::string& key) {
  for (Replacement& r : replacements_)
    if (r.place == &place) return *r.copy;
  std::shared_ptr<Parameter> copy = adapter_parameter(key.empty() ? place->name : key, place->shape);
  Tensor f32 = dense_value(*place);
  copy->value.assign(f32.raw(), f32.nbytes());
  replacements_.push_back({&place, place, copy});
  place = copy;
  return *copy;
}

void Adapter::replace_modules(const std::vector<std::string>& names) {
  for (const std::string& name : names) {
    bool found = false;
    for (Linear* linear : model_.linears()) {
      if (!named(linear->path, name)) continue;
      if (!linear->methods.empty())
        fail_usage("modules_to_save {}: {} is a target of the adapter as well", name, linear->path);
      found = true;
      // A tied head gets its own weight: named after the module, as PEFT's copy is.
      replace(linear->weight, linear->path + ".weight");
      if (linear->bias) replace(linear->bias);
    }
    for (Embedding* embedding : model_.embeddings())
      if (named(embedding->path, name)) {
        found = true;
        replace(embedding->weight);
      }
    for (Norm* norm : model_.norms())
      if (named(norm->path, name)) {
        found = true;
        replace(norm->weight);
        if (norm->bias) replace(norm->bias);
      }
    // PEFT lists heads of other tasks for every model; what is not there is passed over, as it does.
    if (!found && name != "classifier" && name != "score")
      fail_usage("modules_to_save {}: {} has no such module", printable(name), model_.config().architecture);
  }
}

void Adapter::replace_biases(const std::string& mode, const std::vector<Linear*>& targets) {
  if (mode == "none") return;
  std::vector<const Linear*> targeted(targets.begin(), targets.end());
  for (Linear* linear : model_.linears()) {
    bool is_target = std::find(targeted.begin(), targeted.end(), linear) != targeted.end();
    if (!linear->bias || (mode != "all" && !is_target)) continue;
    replace(linear->bias, linear->path + (is_target ? ".base_layer.bias" : ".bias"));
  }
}

LinearAdapter::~LinearAdapter() {
  for (Site& site : sites_) std::erase(site.linear->methods, site.method);
}

std::vector<std::string> LinearAdapter::default_target_modules() const {
  return default_targets(model_.config().model_type);
}

std::vector<Linear*> LinearAdapter::selected_linears() {
  TargetSpec targets = config_.targets;
  if (targets.modules.empty() && targets.pattern.empty()) {
    targets.modules = default_target_modules();
    if (targets.modules.empty())
      fail_input("{}: target_modules is null and {} has no default", config_.origin,
                 model_.config().model_type);
    config_.targets.modules = targets.modules;
  }
  for (const std::string& name : config_.modules_to_save) targets.exclude_modules.push_back(name);
  return select_targets(model_, targets, other_targets());
}

void LinearAdapter::mount() {
  for (Linear* linear : selected_linears()) {
    std::shared_ptr<LinearMethod> method = make_method(*linear);
    method->owner = route_owner();
    linear->methods.push_back(method);
    sites_.push_back({linear, std::move(method)});
  }
}

std::vector<Linear*> LinearAdapter::linears() const {
  std::vector<Linear*> all;
  for (const Site& site : sites_) all.push_back(site.linear);
  return all;
}

std::vector<Parameter*> LinearAdapter::own_parameters() const {
  std::vector<Parameter*> all;
  for (const Site& site : sites_)
    for (Parameter* parameter : site.method->parameters()) all.push_back(parameter);
  return all;
}

void LinearAdapter::activate(bool active) {
  for (Site& site : sites_) site.method->active = active;
}

void LinearAdapter::apply_weight(float weight) {
  for (Site& site : sites_) site.method->weight = weight;
}

std::string LinearAdapter::acts_beside_linears() const {
  return replacements_.empty() ? "" : fmt::format("{} is trained in full", replacements_.front().copy->name);
}

Json LinearAdapter::target_keys() const {
  const TargetSpec& t = config_.targets;
  Json keys = {{"target_modules", t.pattern.empty() ? Json(t.modules) : Json(t.pattern)},
               {"layers_to_transform", t.layers_to_transform.empty() ? Json() : Json(t.layers_to_transform)},
               {"layers_pattern", t.layers_pattern.empty() ? Json() : Json(t.layers_pattern)}};
  // Releases before exclude_modules refuse unknown keys, so it is written only when it is needed.
  if (!t.exclude_modules.empty()) keys["exclude_modules"] = t.exclude_modules;
  if (!t.exclude_pattern.empty()) keys["exclude_modules"] = t.exclude_pattern;
  return keys;
}

}  // namespace fettle
