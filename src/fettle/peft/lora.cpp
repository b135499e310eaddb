#include "fettle/peft/lora.h"

#include <cmath>

#include "fettle/base/error.h"
#include "fettle/base/random.h"

namespace fettle {
namespace {

// Names a module in random keys: FNV-1a, so that a stream depends on the path alone and not on what else is
// targeted.
uint32_t site_of(const std::string& path) {
  uint32_t hash = 2166136261u;
  for (unsigned char c : path) hash = (hash ^ c) * 16777619u;
  return hash;
}

}  // namespace

Var LoraMethod::forward(Context& context, Linear& base, const Var& x) {
  std::vector<LoraTerm> terms;
  for (const Layer& layer : layers_) terms.push_back(layer.term);
  return linear(context, x, *base.weight, base.bias.get(), base.conv1d, terms);
}

std::vector<Parameter*> LoraMethod::parameters() {
  std::vector<Parameter*> all;
  for (const Layer& layer : layers_) {
    all.push_back(layer.a.get());
    all.push_back(layer.b.get());
  }
  return all;
}

void LoraMethod::merge_into(Tensor& weight) const {
  for (const Layer& layer : layers_) {
    MatmulArgs product{.out = &weight, .alpha = layer.term.scale, .beta = 1.0f};
    if (transposed) {  // weight [in, out] += s Aᵀ Bᵀ
      product.a = &layer.a->value;
      product.b = &layer.b->value;
      product.transpose_a = product.transpose_b = true;
    } else {  // weight [out, in] += s B A
      product.a = &layer.b->value;
      product.b = &layer.a->value;
    }
    cpu_backend().matmul(product);
  }
}

void LoraMethod::remove(const Parameter* a) {
  std::erase_if(layers_, [&](const Layer& layer) { return layer.a.get() == a; });
}

void LoraMethod::set_dropout(const Parameter* a, float p) {
  for (Layer& layer : layers_)
    if (layer.a.get() == a) layer.term.dropout = p;
}

void LoraAdapter::mount(const std::vector<Linear*>& targets) {
  for (Linear* linear : targets) {
    int64_t rank = config_.rank_of(linear->path);
    Site site{
        linear,
        std::make_shared<Parameter>(linear->path + ".lora_A.weight", Shape{rank, linear->in_features}),
        std::make_shared<Parameter>(linear->path + ".lora_B.weight", Shape{linear->out_features, rank})};
    for (Parameter* parameter : {site.a.get(), site.b.get()}) {
      parameter->kind = MemoryKind::kAdapters;
      parameter->value = Tensor::zeros(parameter->shape, DType::kF32, MemoryKind::kAdapters);
    }
    if (!linear->method) linear->method = std::make_shared<LoraMethod>();
    auto method = std::dynamic_pointer_cast<LoraMethod>(linear->method);
    FETTLE_CHECK(method, "{} carries another method", linear->path);
    method->transposed = linear->conv1d;
    method->add({site.a, site.b,
                 LoraTerm{.a = site.a.get(),
                          .b = site.b.get(),
                          .scale = static_cast<float>(config_.scale_of(linear->path)),
                          .dropout = static_cast<float>(config_.lora_dropout),
                          .site = site_of(linear->path)}});
    sites_.push_back(std::move(site));
  }
}

std::unique_ptr<LoraAdapter> LoraAdapter::create(CausalLM& model, const LoraConfig& config, uint64_t seed) {
  std::unique_ptr<LoraAdapter> adapter(new LoraAdapter(model, config));
  adapter->mount(select_targets(model, config.targets));
  for (Site& site : adapter->sites_) {
    RandomStream stream({seed, RandomUse::kInit, site_of(site.a->name), 0});
    float bound = 1.0f / std::sqrt(static_cast<float>(site.linear->in_features));
    for (float& value : site.a->value.span<float>()) value = (2.0f * stream.uniform() - 1.0f) * bound;
  }
  return adapter;
}

LoraAdapter::~LoraAdapter() {
  unmount();
}

void LoraAdapter::unmount() {
  for (Site& site : sites_) {
    auto method = std::dynamic_pointer_cast<LoraMethod>(site.linear->method);
    if (!method) continue;
    method->remove(site.a.get());
    if (method->empty()) site.linear->method.reset();
  }
  sites_.clear();
}

void LoraAdapter::set_trainable(bool trainable) {
  for (Parameter* parameter : parameters()) parameter->trainable = trainable;
}

void LoraAdapter::set_dropout(double p) {
  config_.lora_dropout = p;
  for (Site& site : sites_)
    std::dynamic_pointer_cast<LoraMethod>(site.linear->method)
        ->set_dropout(site.a.get(), static_cast<float>(p));
}

int64_t LoraAdapter::parameter_count() const {
  int64_t count = 0;
  for (const Parameter* parameter : parameters()) count += parameter->numel();
  return count;
}

std::vector<Parameter*> LoraAdapter::parameters() const {
  std::vector<Parameter*> all;
  for (const Site& site : sites_) {
    all.push_back(site.a.get());
    all.push_back(site.b.get());
  }
  return all;
}

}  // namespace fettle
