#include "fettle/peft/lora.h"

#include <cmath>

#include "fettle/base/error.h"
#include "fettle/base/mapped_pages.h"
#include "fettle/peft/dense_weight.h"
#include "fettle/peft/dora.h"
#include "fettle/peft/embedding_methods.h"
#include "fettle/peft/lora_calibration.h"
#include "fettle/peft/lora_init.h"
#include "fettle/peft/methods.h"

namespace fettle {
namespace {

class LoraAdapter final : public LinearAdapter {
 public:
  LoraAdapter(CausalLM& model, AdapterConfig config)
      : LinearAdapter(model, std::move(config)), lora_(parse_lora_config(config_)) {
    if (!lora_.layer_replication.empty())
      replicated_.emplace(model_, lora_.layer_replication, config_.origin);
  }

  std::string acts_beside_linears() const override {
    if (!originals_.empty()) return fmt::format("init_lora_weights {} changed the base", lora_.init);
    if (!embeddings_.empty() || tokens_) return "an embedding is adapted";
    if (replicated_) return "layers are replicated";
    return LinearAdapter::acts_beside_linears();
  }
  std::string why_not_mergeable() const override {
    return replicated_ ? "its base has replicated layers, which share their weights" : "";
  }
  std::string description() const override {
    return fmt::format("{}, r {}, alpha {}", lora_.use_dora ? "DoRA" : "LoRA", lora_.r, lora_.lora_alpha);
  }

 protected:
  std::shared_ptr<LinearMethod> make_method(Linear& linear) override {
    int64_t rank = lora_.rank_of(linear.path);
    double scale = lora_.scale_of(linear.path);
    if (lora_.use_dora) return std::make_shared<DoraMethod>(linear, rank, scale, lora_.lora_dropout);
    return std::make_shared<LoraMethod>(linear, rank, scale, lora_.lora_dropout, lora_.lora_bias);
  }

  std::vector<std::string> other_targets() const override {
    std::vector<std::string> paths;
    for (const Embedding* embedding : model_.embeddings()) paths.push_back(embedding->path);
    return paths;
  }
  void mount() override {
    LinearAdapter::mount();
    replace_biases(lora_.bias, linears());
    for (Embedding* embedding : model_.embeddings()) {
      if (!targets_module(config_.targets, embedding->path, false)) continue;
      if (lora_.use_dora) fail_usage("{}: DoRA of an embedding is not supported", embedding->path);
      embeddings_.emplace_back(
          *embedding, std::make_shared<LoraEmbeddingMethod>(*embedding, lora_.rank_of(embedding->path),
                                                            lora_.scale_of(embedding->path)));
    }
    if (!lora_.trainable_tokens.empty())
      tokens_.emplace(model_, lora_.trainable_tokens,
                      model_.embeddings().front()->path + ".token_adapter.trainable_tokens_delta",
                      config_.origin);
  }
  std::vector<Parameter*> own_parameters() const override {
    std::vector<Parameter*> all = LinearAdapter::own_parameters();
    for (const EmbeddingSite& site : embeddings_)
      for (Parameter* parameter : site.method->parameters()) all.push_back(parameter);
    if (tokens_) all.push_back(tokens_->rows());
    return all;
  }
  void activate(bool active) override {
    LinearAdapter::activate(active);
    for (EmbeddingSite& site : embeddings_) site.method->active = active;
    if (tokens_) tokens_->activate(active);
  }

  void calibrate(const Calibration* calibration, uint64_t seed) override {
    if (!needs_calibration(lora_.init)) return;
    if (!calibration) fail_usage("init_lora_weights {}: needs training data", lora_.init);
    if (lora_.use_dora && lora_.init != "eva")
      fail_usage("init_lora_weights {}: changes the base weights, which use_dora does not allow", lora_.init);
    starts_ = calibrated_starts(model_, config_, lora_, selected_linears(), *calibration, seed);
    lora_ = parse_lora_config(config_);  // EVA writes patterns of its own
  }

  void initialise(uint64_t seed) override {
    for (Site& site : sites_) {
      LoraMethod& method = *lora(site);
      LoraInit init;
      if (auto start = starts_.find(site.linear->path); start != starts_.end())
        init = take_start(start->second, method);
      else if (lora_.init == "loftq")
        init = initialise_loftq(loftq(), *site.linear, method);
      else
        init = initialise_lora(lora_.init, *site.linear, method, seed);
      if (init.quantized_base) quantize_base(*site.linear, init.quantized_base);
      if (init.changes_base) {
        method.a0 = method.a->value.clone(MemoryKind::kAdapters);
        method.b0 = method.b->value.clone(MemoryKind::kAdapters);
        change_base(*site.linear, method);
      }
      if (auto* dora = dynamic_cast<DoraMethod*>(&method)) dora->initialise_magnitude(*site.linear);
    }
    // A zero, B normal: PEFT's order for embeddings.
    for (EmbeddingSite& site : embeddings_) fill_normal(*site.method->b, 1.0, seed);
    starts_.clear();
  }

  // The base of such an adapter is the residual that its initialisation left; the exact ones are done again.
  void take_tensors(std::map<std::string, Tensor>& tensors, const std::string& folder) override {
    const std::string& init = lora_.init;
    if (init == "pissa" || init == "olora")
      initialise(0);
    else if (init.starts_with("pissa") || init == "corda" || init == "lora_ga" ||
             (init == "loftq" && !sites_.front().linear->weight->quantized))
      fail_input(
          "{}: init_lora_weights = \"{}\" changed the base model in a way that cannot be repeated; save the "
          "adapter "
          "with PEFT's path_initial_model_for_weight_conversion to make it plain LoRA",
          config_.origin, printable(init));
    // PEFT saves the untouched table along with an adapted embedding or head.
    for (auto it = tensors.begin(); it != tensors.end();)
      it = is_base_copy(it->first, it->second) ? tensors.erase(it) : std::next(it);
    Adapter::take_tensors(tensors, folder);
  }

  // An initialisation that moves part of the base into A and B is saved as a plain LoRA of twice the rank on
  // the unchanged base: [B, -B0] [A; A0] (PEFT's path_initial_model_for_weight_conversion).
  std::map<std::string, Tensor> saved_tensors() const override {
    std::map<std::string, Tensor> tensors = Adapter::saved_tensors();
    for (const Site& site : sites_) {
      const LoraMethod& method = *lora(site);
      if (!method.a0.defined()) continue;
      auto [a, b] = difference(method);
      tensors[std::string(kAdapterKeyPrefix) + method.a->name] = a;
      tensors[std::string(kAdapterKeyPrefix) + method.b->name] = b;
    }
    return tensors;
  }

  Json saved_keys() const override {
    const bool doubled = !originals_.empty();
    const int64_t factor = doubled ? 2 : 1;
    // With s = alpha / sqrt(r) a doubled rank needs alpha times sqrt 2 for the same s.
    const double alpha_factor = !doubled ? 1.0 : lora_.use_rslora ? std::sqrt(2.0) : 2.0;
    Json ranks = Json::object(), alphas = Json::object();
    for (const auto& [key, rank] : lora_.rank_pattern) ranks[key] = rank * factor;
    for (const auto& [key, alpha] : lora_.alpha_pattern) alphas[key] = whole_or_real(alpha * alpha_factor);
    bool conv1d = !sites_.empty() && sites_.front().linear->conv1d;
    Json json = {{"alpha_pattern", alphas},
                 {"bias", lora_.bias},
                 {"fan_in_fan_out", conv1d},
                 {"init_lora_weights", true},
                 {"loftq_config", Json::object()},
                 {"lora_alpha", whole_or_real(lora_.lora_alpha * alpha_factor)},
                 {"lora_dropout", lora_.lora_dropout},
                 {"megatron_config", nullptr},
                 {"megatron_core", "megatron.core"},
                 {"r", lora_.r * factor},
                 {"rank_pattern", ranks},
                 {"use_dora", lora_.use_dora},
                 {"use_rslora", lora_.use_rslora}};
    if (lora_.lora_bias) json["lora_bias"] = true;
    if (replicated_) json["layer_replication"] = lora_.layer_replication;
    if (!lora_.trainable_tokens.empty()) {
      std::string name = input_embedding_name(model_);
      json["trainable_token_indices"] =
          name == "embed_tokens" ? Json(lora_.trainable_tokens) : Json{{name, lora_.trainable_tokens}};
    }
    json.update(target_keys());
    return json;
  }

 private:
  static LoraMethod* lora(const Site& site) { return static_cast<LoraMethod*>(site.method.get()); }

  static LoraInit take_start(const LoraStart& start, LoraMethod& method) {
    method.a->value.assign(start.a.raw(), start.a.nbytes());
    if (start.b.defined()) method.b->value.assign(start.b.raw(), start.b.nbytes());
    return {.changes_base = start.b.defined(), .quantized_base = nullptr};
  }

  LoftQ loftq() const {
    static const Json kEmpty = Json::object();
    const Json& json = config_.sorted();
    const bool given = json.contains("loftq_config") && json["loftq_config"].is_object();
    ConfigFields fields(given ? json["loftq_config"] : kEmpty, config_.origin + ": loftq_config");
    const int64_t bits = fields.integer("loftq_bits", 4, 4, 8);
    if (bits != 4 && bits != 8) fail_usage("loftq_config: loftq_bits is {}, expected 4 or 8", bits);
    return {.bits = static_cast<int>(bits),
            .rounds = fields.integer("loftq_iter", 1, 1, 100),
            .kind = fields.string("quant_type", "nf4") == "fp4" ? QuantKind::kFP4 : QuantKind::kNF4,
            .blocksize = fields.integer("blocksize", 64, 32, 4096),
            .double_quantization = fields.boolean("double_quantization", false)};
  }

  // For good: a base that LoftQ quantised stays so, since keeping the other would cost what quantising saves.
  static void quantize_base(Linear& linear, std::shared_ptr<const QuantizedMatrix> matrix) {
    linear.weight->quantized = std::move(matrix);
    forget_mapped_pages(linear.weight->value.raw(), linear.weight->value.nbytes());
    linear.weight->value = Tensor();
  }

  // W - s B A takes the place of W while the adapter is mounted.
  void change_base(Linear& linear, const LoraMethod& method) {
    if (linear.weight->quantized)
      fail_usage("init_lora_weights {}: changes the base weights, which a quantised base does not allow",
                 lora_.init);
    Tensor weight = dense_weight(linear);
    add_low_rank(weight, method.b->value, method.a->value, -method.term.scale);
    if (linear.conv1d) weight = transposed(weight);
    auto changed = std::make_shared<Parameter>(linear.weight->name, linear.weight->shape);
    changed->value = weight.to(linear.weight->value.dtype(), MemoryKind::kWeights);
    changed->kind = linear.weight->kind;
    forget_mapped_pages(linear.weight->value.raw(), linear.weight->value.nbytes());
    originals_.push_back({&linear, linear.weight});
    linear.weight = changed;
  }

  static std::pair<Tensor, Tensor> difference(const LoraMethod& method) {
    const Tensor &a0 = method.a0, &b0 = method.b0;
    int64_t r = a0.dim(0), in = a0.dim(1), out = b0.dim(0);
    Tensor a = Tensor::empty({2 * r, in}, DType::kF32), b = Tensor::empty({out, 2 * r}, DType::kF32);
    std::copy_n(method.a->value.data<float>(), r * in, a.data<float>());
    std::copy_n(a0.data<float>(), r * in, a.data<float>() + r * in);
    for (int64_t o = 0; o < out; ++o)
      for (int64_t k = 0; k < r; ++k) {
        b.data<float>()[o * 2 * r + k] = method.b->value.data<float>()[o * r + k];
        b.data<float>()[o * 2 * r + r + k] = -b0.data<float>()[o * r + k];
      }
    return {a, b};
  }

  struct Original {
    Linear* linear;
    std::shared_ptr<Parameter> weight;
    ~Original() {
      if (linear) linear->weight = weight;
    }
    Original(Linear* l, std::shared_ptr<Parameter> w) : linear(l), weight(std::move(w)) {}
    Original(Original&& other) noexcept
        : linear(std::exchange(other.linear, nullptr)), weight(other.weight) {}
  };

  bool is_base_copy(const std::string& key, const Tensor& value) const {
    for (Linear* linear : {&model_.head()})
      if (key == linear->path + ".base_layer.weight") return same_values(*linear->weight, key, value);
    for (const Embedding* embedding : model_.embeddings())
      if (key == embedding->path + ".base_layer.weight") return same_values(*embedding->weight, key, value);
    return false;
  }
  bool same_values(const Parameter& base, const std::string& key, const Tensor& value) const {
    Tensor ours = base.value.to(DType::kF32, MemoryKind::kWorkspace);
    Tensor theirs =
        value.to(base.value.dtype(), MemoryKind::kWorkspace).to(DType::kF32, MemoryKind::kWorkspace);
    if (value.shape() != base.shape || std::memcmp(ours.raw(), theirs.raw(), ours.nbytes()) != 0)
      fail_input("{}: \"{}\" is not the table of this base model; was the adapter trained on another one?",
                 config_.origin, printable(key));
    return true;
  }

  LoraConfig lora_;
  std::map<std::string, LoraStart> starts_;
  std::vector<Original> originals_;
  std::vector<EmbeddingSite> embeddings_;
  std::optional<TokenRows> tokens_;
};

}  // namespace

std::unique_ptr<Adapter> make_lora(CausalLM& model, AdapterConfig config) {
  return std::make_unique<LoraAdapter>(model, std::move(config));
}

void add_low_rank(Tensor& out, const Tensor& b, const Tensor& a, float scale) {
  cpu_backend().matmul({.a = &b, .b = &a, .out = &out, .alpha = scale, .beta = 1.0f});
}

LoraMethod::LoraMethod(Linear& linear, int64_t rank, double scale, double dropout, bool with_bias)
    : a(adapter_parameter(linear.path + ".lora_A.weight", {rank, linear.in_features})),
      b(adapter_parameter(linear.path + ".lora_B.weight", {linear.out_features, rank})),
      b_bias(with_bias ? adapter_parameter(linear.path + ".lora_B.bias", {linear.out_features}) : nullptr),
      term{.a = a.get(),
           .b = b.get(),
           .scale = static_cast<float>(scale),
           .dropout = static_cast<float>(dropout),
           .site = random_site(linear.path)} {}

Var LoraMethod::forward(Context& context, const LinearBelow& below, const Var& x) {
  // Terms of several adapters go into one product node as long as nothing else lies between.
  std::vector<LoraTerm> terms = {weighted()};
  LinearBelow rest = below;
  auto plain = [](LinearMethod* method) {
    return method && typeid(*method) == typeid(LoraMethod) && !static_cast<LoraMethod*>(method)->b_bias;
  };
  while (plain(rest.top())) {
    terms.insert(terms.begin(), static_cast<LoraMethod*>(rest.top())->weighted());
    rest = rest.next();
  }
  Linear& base = rest.linear();
  Var y;
  if (!rest.top()) {
    y = linear(context, x, *base.weight, base.bias.get(), base.conv1d, terms);
  } else {
    y = rest(context, x);
    for (const LoraTerm& t : terms) {
      Var projection = linear(context, dropout(context, x, t.dropout, t.site), *t.a, nullptr);
      y = add(context, y, matmul(context, projection, leaf(context, *t.b), true, t.scale));
    }
  }
  // dropout does not touch the bias: y + s * bias.
  if (b_bias) y = add_row(context, y, *b_bias, weighted().scale);
  return y;
}

LoraTerm LoraMethod::weighted() const {
  LoraTerm t = term;
  if (weighs_itself()) t.scale *= weight;
  return t;
}

std::vector<Parameter*> LoraMethod::parameters() {
  if (b_bias) return {a.get(), b.get(), b_bias.get()};
  return {a.get(), b.get()};
}

void LoraMethod::merge(Tensor& weight, Tensor& bias) const {
  const float factor = weighted().scale;
  add_low_rank(weight, b->value, a->value, factor);
  if (a0.defined()) add_low_rank(weight, b0, a0, -factor);
  if (!b_bias) return;
  if (!bias.defined())
    fail_usage("{}: lora_bias cannot be merged into a linear without a bias", b_bias->name);
  cpu_backend().axpy(factor, b_bias->value, bias);
}

}  // namespace fettle
