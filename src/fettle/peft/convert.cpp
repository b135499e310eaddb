#include "fettle/peft/convert.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <map>
#include <set>

#include "fettle/base/error.h"
#include "fettle/formats/weight_source.h"
#include "fettle/kernels/backend.h"
#include "fettle/models/loader.h"
#include "fettle/peft/adapter.h"
#include "fettle/peft/dense_weight.h"
#include "fettle/peft/low_rank.h"

namespace fettle {
namespace {

constexpr int64_t kDefaultRank = 16;

LoraPair pair_of(const std::string& module, const Triplets& t) {
  const int64_t r = t.s.numel(), out = t.u.dim(0), in = t.v.dim(0);
  LoraPair pair{
      .module = module, .a = Tensor::empty({r, in}, DType::kF32), .b = Tensor::empty({out, r}, DType::kF32)};
  // Equal shares of the singular values, as an adapter that was trained would have.
  for (int64_t k = 0; k < r; ++k) {
    const float root = std::sqrt(t.s.data<float>()[k]);
    for (int64_t i = 0; i < in; ++i) pair.a.data<float>()[k * in + i] = root * t.v.data<float>()[i * r + k];
    for (int64_t o = 0; o < out; ++o) pair.b.data<float>()[o * r + k] = root * t.u.data<float>()[o * r + k];
  }
  return pair;
}

double squares(const Tensor& t) {
  return cpu_backend().sum_squares(t);
}

// Adds a module's difference to the result, and what its factors keep of it.
class Collector {
 public:
  explicit Collector(Extraction& out) : out_(out) {}
  void add(const std::string& module, const Tensor& difference, int64_t rank) {
    const double all = squares(difference);
    if (all == 0) return;
    Triplets t = best_triplets(difference, std::min({rank, difference.dim(0), difference.dim(1)}), module);
    add(module, t, all, squares(t.s));
  }
  void add(const std::string& module, const Triplets& t, double all, double kept) {
    out_.lora.pairs.push_back(pair_of(module, t));
    all_ += all;
    kept_ += std::min(kept, all);
    const double share = all > 0 ? std::min(1.0, kept / all) : 1.0;
    if (out_.worst_module.empty() || share < out_.worst) {
      out_.worst = share;
      out_.worst_module = module;
    }
  }
  void finish() {
    out_.kept = all_ > 0 ? kept_ / all_ : 1;
    std::sort(out_.lora.pairs.begin(), out_.lora.pairs.end(),
              [](const LoraPair& x, const LoraPair& y) { return x.module < y.module; });
  }

 private:
  Extraction& out_;
  double all_ = 0, kept_ = 0;
};

bool wanted(const Linear& linear, const Linear& head, const std::vector<std::string>& targets) {
  if (targets.empty()) return &linear != &head;
  return std::any_of(targets.begin(), targets.end(), [&](const std::string& target) {
    return linear.path == target || linear.path.ends_with("." + target);
  });
}

Tensor f32_of(const WeightSource& source, const std::string& name) {
  return source.tensor(name).to(DType::kF32, MemoryKind::kWorkspace);
}

bool same(const WeightSource& a, const WeightSource& b, const std::string& name) {
  Tensor x = f32_of(a, name), y = f32_of(b, name);
  return x.shape() == y.shape() && std::memcmp(x.raw(), y.raw(), x.nbytes()) == 0;
}

Extraction reduced(LoraFolder lora, int64_t rank) {
  Extraction out{.lora = {.base_model_name_or_path = lora.base_model_name_or_path, .pairs = {}}};
  Collector collector(out);
  for (LoraPair& pair : lora.pairs) {
    if (rank <= 0 || rank >= pair.rank()) {
      out.lora.pairs.push_back(pair);
      continue;
    }
    Tensor b = pair.b.clone(MemoryKind::kWorkspace);
    cpu_backend().scale(b, pair.scale);
    Triplets all = product_triplets(b, pair.a, pair.rank()), some = product_triplets(b, pair.a, rank);
    const bool embedding = pair.embedding;
    collector.add(pair.module, some, squares(all.s), squares(some.s));
    out.lora.pairs.back().embedding = embedding;
  }
  collector.finish();
  return out;
}

// W with the adapter's methods minus W.
Tensor change_of(Linear& linear, const Tensor& before) {
  Tensor weight = before.clone(MemoryKind::kWorkspace);
  Tensor bias = linear.bias ? dense_value(*linear.bias) : Tensor();
  for (const auto& method : linear.methods) method->merge(weight, bias);
  if (bias.defined()) {
    Tensor old = dense_value(*linear.bias);
    if (std::memcmp(old.raw(), bias.raw(), bias.nbytes()) != 0)
      fail_usage("{}: the adapter changes the bias, which a plain LoRA cannot say", linear.path);
  }
  cpu_backend().axpy(-1.0f, before, weight);
  return weight;
}

}  // namespace

Extraction extract_lora(const std::filesystem::path& base, const std::filesystem::path& tuned, int64_t rank,
                        const std::vector<std::string>& targets,
                        const std::function<void(int64_t, int64_t)>& progress) {
  std::unique_ptr<CausalLM> model = build_model(read_model_config(base));
  if (ModelConfig other = read_model_config(tuned); other.architecture != model->config().architecture)
    fail_input("{} is a {}, {} a {}", base.string(), model->config().architecture, tuned.string(),
               other.architecture);
  WeightSource before = WeightSource::open_model(base), after = WeightSource::open_model(tuned);
  Extraction out{.lora = {.base_model_name_or_path = base.string(), .pairs = {}}};
  Collector collector(out);
  std::vector<Linear*> linears = model->linears();
  std::set<std::string> seen;
  int64_t done = 0;
  for (Linear* linear : linears) {
    const std::string name = linear->path + ".weight";
    if (progress) progress(++done, static_cast<int64_t>(linears.size()));
    if (!wanted(*linear, model->head(), targets)) continue;
    if (!before.has(name) || !after.has(name)) {
      if (linear == &model->head()) continue;  // tied
      fail_input("{}: \"{}\" is missing", (before.has(name) ? tuned : base).string(), name);
    }
    seen.insert(name);
    Tensor difference = f32_of(after, name).clone(MemoryKind::kWorkspace), old = f32_of(before, name);
    if (difference.shape() != old.shape())
      fail_input("\"{}\" is {} in {} and {} in {}", name, shape_string(old.shape()), base.string(),
                 shape_string(difference.shape()), tuned.string());
    cpu_backend().axpy(-1.0f, old, difference);
    if (!cpu_backend().all_finite(difference))
      fail_input("\"{}\": the difference of the models is not finite", name);
    collector.add(linear->path, linear->conv1d ? transposed(difference) : difference, rank);
    before.forget(name);
    after.forget(name);
  }
  for (const Parameter* parameter : model->parameters())
    if (!seen.contains(parameter->name) && before.has(parameter->name) && after.has(parameter->name) &&
        !same(before, after, parameter->name))
      out.left_out.push_back(parameter->name);
  if (out.lora.pairs.empty())
    fail_usage("{} and {}: no linear that was asked for differs", base.string(), tuned.string());
  collector.finish();
  return out;
}

Extraction convert_to_lora(const std::filesystem::path& adapter, const std::filesystem::path& base,
                           int64_t rank) {
  AdapterConfig config = AdapterConfig::read(adapter);
  if (base.empty()) {
    if (config.peft_type != "LORA")
      fail_usage("{}: peft_type is {}; give its base model with --model DIR", config.origin,
                 printable(config.peft_type));
    return reduced(read_lora_folder(adapter), rank);
  }
  std::vector<std::string> notes;
  std::unique_ptr<CausalLM> model = load_model(base, {.compute = DType::kF32, .progress = {}}, notes);
  // The base's own weights, before an initialisation of the adapter changes them.
  std::map<const Linear*, std::shared_ptr<Parameter>> weights;
  for (const Linear* linear : model->linears()) weights[linear] = linear->weight;
  std::unique_ptr<Adapter> mounted = Adapter::load(*model, adapter);
  if (std::string why = mounted->why_not_mergeable(); !why.empty())
    fail_usage("{}: {}", mounted->description(), why);
  auto* on_linears = dynamic_cast<LinearAdapter*>(mounted.get());
  int64_t own_rank = kDefaultRank;
  if (config.peft_type == "LORA" || config.peft_type == "ADALORA")
    own_rank = config.fields().integer("r", kDefaultRank, 1, 65536);
  // PiSSA and OLoRA: the change is the difference of two terms of that rank.
  if (std::string what = mounted->acts_beside_linears(); what.starts_with("init_lora_weights"))
    own_rank *= 2;
  else if (!what.empty() || !on_linears)
    fail_usage("{}: {}, which a plain LoRA cannot say", mounted->description(), what);
  Extraction out{.lora = {.base_model_name_or_path = config.base_model_name_or_path, .pairs = {}}};
  Collector collector(out);
  for (Linear* linear : on_linears->linears()) {
    Tensor before = dense_value(*weights.at(linear));
    if (linear->conv1d) before = transposed(before);
    collector.add(linear->path, change_of(*linear, before), rank > 0 ? rank : own_rank);
  }
  if (out.lora.pairs.empty()) fail_usage("{}: the adapter changes nothing", adapter.string());
  collector.finish();
  return out;
}

}  // namespace fettle
