// AdaLoRA (Zhang et al., arXiv 2303.10512): ΔW = B (A ∘ E) in the form of a singular value decomposition,
// whose least important values are set to zero until a budget of ranks is kept. PEFT: tuners/adalora.
#include "fettle/peft/adalora.h"

#include <algorithm>
#include <cmath>

#include "fettle/base/error.h"
#include "fettle/peft/lora.h"
#include "fettle/peft/methods.h"

namespace fettle {
namespace {

struct AdaloraConfig : LoraConfig {
  int64_t target_r = 8, init_r = 12, tinit = 0, tfinal = 0, delta_t = 1, total_step = 0;
  double beta1 = 0.85, beta2 = 0.85, orth_reg_weight = 0.5;
};

class AdaloraMethod final : public LinearMethod {
 public:
  AdaloraMethod(const Linear& linear, int64_t rank, double scale, double dropout)
      : a(adapter_parameter(linear.path + ".lora_A", {rank, linear.in_features})),
        b(adapter_parameter(linear.path + ".lora_B", {linear.out_features, rank})),
        e(adapter_parameter(linear.path + ".lora_E", {rank, 1})),
        scale_(static_cast<float>(scale)),
        dropout_(static_cast<float>(dropout)),
        site_(random_site(linear.path)) {}
  Var forward(Context& context, const LinearBelow& below, const Var& x) override {
    Var y = below(context, x);
    if (a->shape[0] == 0) return y;
    Var h = matmul(context, dropout(context, x, dropout_, site_), leaf(context, *a), true);
    h = scale_columns(context, h, leaf(context, *e));
    return add(context, y, matmul(context, h, leaf(context, *b), true, scale_));
  }
  std::vector<Parameter*> parameters() override { return {a.get(), b.get(), e.get()}; }
  void merge(Tensor& weight, Tensor&) const override {
    if (a->shape[0] == 0) return;
    Tensor scaled = Tensor::empty(b->shape, DType::kF32, MemoryKind::kWorkspace);
    cpu_backend().scale_columns(b->value, e->value, Tensor(), scaled);
    add_low_rank(weight, scaled, a->value, scale_);
  }

  std::shared_ptr<Parameter> a, b, e;

 private:
  float scale_, dropout_;
  uint32_t site_;
};

class AdaloraAdapter final : public LinearAdapter {
 public:
  AdaloraAdapter(CausalLM& model, AdapterConfig config) : LinearAdapter(model, std::move(config)) {
    static_cast<LoraConfig&>(ada_) = parse_lora_config(config_);
    ConfigFields fields = config_.fields();
    ada_.target_r = fields.integer("target_r", 8, 1, 1 << 16);
    ada_.init_r = fields.integer("init_r", 12, 1, 1 << 16);
    ada_.tinit = fields.integer("tinit", 0, 0, INT32_MAX);
    ada_.tfinal = fields.integer("tfinal", 0, 0, INT32_MAX);
    ada_.delta_t = fields.integer("deltaT", 1, 1, INT32_MAX);
    ada_.total_step = fields.integer("total_step", 0, 0, INT32_MAX);
    ada_.beta1 = fields.number("beta1", 0.85, 0, 1);
    ada_.beta2 = fields.number("beta2", 0.85, 0, 1);
    ada_.orth_reg_weight = fields.number("orth_reg_weight", 0.5, 0, 1e6);
    if (ada_.use_dora || ada_.lora_bias || ada_.bias != "none" || !ada_.trainable_tokens.empty())
      fail_input("{}: use_dora, lora_bias, bias and trainable_token_indices do not go with AdaLoRA",
                 config_.origin);
    read_masks();
  }
  std::string description() const override {
    return fmt::format("AdaLoRA, r {} to {}, alpha {}", ada_.init_r, ada_.target_r, ada_.lora_alpha);
  }

  void begin_training(int64_t total_steps) override {
    if (ada_.total_step == 0) ada_.total_step = total_steps;
    if (ada_.tinit >= ada_.total_step - ada_.tfinal)
      fail_usage("AdaLoRA: tinit {} and tfinal {} leave no step of {} in which the budget could fall",
                 ada_.tinit, ada_.tfinal, ada_.total_step);
    init_budget_ = 0;
    for (const Site& site : sites_) init_budget_ += ada(site).a->shape[0];
    target_budget_ = ada_.target_r * static_cast<int64_t>(sites_.size());
  }

  // orth_reg_weight times the mean over all A and B of ‖A Aᵀ - I‖ and ‖Bᵀ B - I‖ (Frobenius).
  double add_penalty(Backend& backend) override {
    double sum = 0;
    double weight = ada_.orth_reg_weight / static_cast<double>(2 * sites_.size());
    for (const Site& site : sites_)
      for (Parameter* p : {ada(site).a.get(), ada(site).b.get()}) {
        bool rows = p == ada(site).a.get();
        int64_t r = rows ? p->shape[0] : p->shape[1];
        if (r == 0) continue;
        Tensor c = Tensor::empty({r, r}, DType::kF32);
        backend.matmul(
            {.a = &p->value, .b = &p->value, .out = &c, .transpose_a = !rows, .transpose_b = rows});
        for (int64_t i = 0; i < r; ++i) c.data<float>()[i * r + i] -= 1.0f;
        double norm = std::sqrt(backend.sum_squares(c));
        sum += norm;
        if (norm == 0 || !p->trainable) continue;
        // d‖C‖ = 2 C A / ‖C‖ for A, 2 B C / ‖C‖ for B.
        backend.matmul({.a = rows ? &c : &p->value,
                        .b = rows ? &p->value : &c,
                        .out = &p->gradient_buffer(),
                        .alpha = static_cast<float>(2.0 * weight / norm),
                        .beta = 1.0f});
      }
    return sum * weight;
  }

  // RankAllocator of PEFT, whose steps count from 0.
  void after_step(int64_t step_from_one, bool updated) override {
    int64_t step = step_from_one - 1, last = ada_.total_step - ada_.tfinal;
    if (step > last) {
      apply_masks();
      return;
    }
    if (step < last && updated) update_importance();
    int64_t budget = init_budget_;
    bool allocate = step == last;
    if (allocate) {
      budget = step <= ada_.tinit ? init_budget_ : target_budget_at(step);
    } else if (step > ada_.tinit) {
      budget = target_budget_at(step);
      allocate = step % ada_.delta_t == 0;
    }
    if (allocate && budget < init_budget_) mask_to_budget(budget);
    if (step == last) importance_.clear();
  }

  std::map<std::string, Tensor> training_state() const override {
    std::map<std::string, Tensor> state;
    for (const auto& [name, importance] : importance_) {
      state[name + ".exp_avg_ipt"] = importance.mean;
      state[name + ".exp_avg_unc"] = importance.uncertainty;
    }
    for (const auto& [path, mask] : masks_) {
      Tensor t = Tensor::empty({static_cast<int64_t>(mask.size())}, DType::kF32);
      for (size_t i = 0; i < mask.size(); ++i) t.data<float>()[i] = mask[i] ? 1.0f : 0.0f;
      state[path + ".mask"] = t;
    }
    return state;
  }
  void restore_training_state(const std::map<std::string, Tensor>& state) override {
    importance_.clear();
    masks_.clear();
    for (const auto& [name, tensor] : state) {
      auto stem = [&](std::string_view end) { return name.substr(0, name.size() - end.size()); };
      if (name.ends_with(".exp_avg_ipt")) importance_[stem(".exp_avg_ipt")].mean = tensor.clone();
      if (name.ends_with(".exp_avg_unc")) importance_[stem(".exp_avg_unc")].uncertainty = tensor.clone();
      if (name.ends_with(".mask")) {
        std::vector<bool>& mask = masks_[stem(".mask")];
        for (int64_t i = 0; i < tensor.numel(); ++i) mask.push_back(tensor.data<float>()[i] != 0);
      }
    }
  }

 protected:
  std::shared_ptr<LinearMethod> make_method(Linear& linear) override {
    int64_t rank = ada_.init_r;
    // A saved mask has already taken its rows out of the file.
    if (auto mask = masks_.find(linear.path); mask != masks_.end())
      rank = std::count(mask->second.begin(), mask->second.end(), true);
    double alpha = ada_.lora_alpha > 0 ? ada_.lora_alpha : static_cast<double>(ada_.init_r);
    return std::make_shared<AdaloraMethod>(linear, rank, alpha / (static_cast<double>(ada_.init_r) + 1e-5),
                                           ada_.lora_dropout);
  }
  void initialise(uint64_t seed) override {
    for (const Site& site : sites_) {
      fill_normal(*ada(site).a, 0.02, seed);
      fill_normal(*ada(site).b, 0.02, seed);
    }
  }
  void take_tensors(std::map<std::string, Tensor>& tensors, const std::string& folder) override {
    LinearAdapter::take_tensors(tensors, folder);
    masks_.clear();  // of rows that are gone
  }
  std::map<std::string, Tensor> saved_tensors() const override {
    std::map<std::string, Tensor> tensors = Adapter::saved_tensors();
    for (const Site& site : sites_) {
      auto mask = masks_.find(site.linear->path);
      if (mask == masks_.end()) continue;
      for (Parameter* p : ada(site).parameters())
        tensors[std::string(kAdapterKeyPrefix) + p->name] = kept(*p, mask->second, p == ada(site).b.get());
    }
    return tensors;
  }
  Json saved_keys() const override {
    Json masks = Json::object();
    for (const auto& [path, mask] : masks_) masks[path + ".lora_E"] = mask;
    Json keys = {{"alpha_pattern", Json::object()},
                 {"beta1", ada_.beta1},
                 {"beta2", ada_.beta2},
                 {"bias", "none"},
                 {"deltaT", ada_.delta_t},
                 {"fan_in_fan_out", !sites_.empty() && sites_.front().linear->conv1d},
                 {"init_lora_weights", true},
                 {"init_r", ada_.init_r},
                 {"lora_alpha", whole_or_real(ada_.lora_alpha)},
                 {"lora_dropout", ada_.lora_dropout},
                 {"orth_reg_weight", ada_.orth_reg_weight},
                 {"r", ada_.r},
                 {"rank_pattern", masks.empty() ? Json() : masks},
                 {"target_r", ada_.target_r},
                 {"tfinal", ada_.tfinal},
                 {"tinit", ada_.tinit},
                 {"total_step", std::max<int64_t>(ada_.total_step, 1)}};
    keys.update(target_keys());
    return keys;
  }

 private:
  struct Importance {
    Tensor mean, uncertainty;
  };
  static AdaloraMethod& ada(const Site& site) { return static_cast<AdaloraMethod&>(*site.method); }

  void read_masks() {
    if (!config_.is_set("rank_pattern")) return;
    const Json& pattern = config_.sorted()["rank_pattern"];
    if (!pattern.is_object()) fail_input("{}: rank_pattern must be an object", config_.origin);
    for (const auto& [name, values] : pattern.items()) {
      size_t end = name.find(".lora_E");
      if (end == name.npos || !values.is_array() || values.size() != static_cast<size_t>(ada_.init_r))
        fail_input("{}: rank_pattern[\"{}\"] must be a list of {} flags for a lora_E", config_.origin,
                   printable(name), ada_.init_r);
      std::vector<bool>& mask = masks_[name.substr(0, end)];
      for (const Json& value : values) mask.push_back(value == true);
    }
  }

  int64_t target_budget_at(int64_t step) const {
    if (step > ada_.total_step - ada_.tfinal) return target_budget_;
    double left = 1.0 - static_cast<double>(step - ada_.tinit) /
                            static_cast<double>(ada_.total_step - ada_.tfinal - ada_.tinit);
    return static_cast<int64_t>(static_cast<double>(init_budget_ - target_budget_) * left * left * left +
                                static_cast<double>(target_budget_));
  }

  void update_importance() {
    float beta1 = static_cast<float>(ada_.beta1), beta2 = static_cast<float>(ada_.beta2);
    for (Parameter* p : own_parameters()) {
      Importance& i = importance_[p->name];
      if (!i.mean.defined()) {
        i.mean = Tensor::zeros(p->shape, DType::kF32, MemoryKind::kOptimizer);
        i.uncertainty = Tensor::zeros(p->shape, DType::kF32, MemoryKind::kOptimizer);
      }
      const float *value = p->value.data<float>(), *gradient = p->gradient_buffer().data<float>();
      float *mean = i.mean.data<float>(), *uncertainty = i.uncertainty.data<float>();
      for (int64_t k = 0; k < p->numel(); ++k) {
        float now = std::abs(value[k] * gradient[k]);
        mean[k] = beta1 * mean[k] + (1 - beta1) * now;
        uncertainty[k] = beta2 * uncertainty[k] + (1 - beta2) * std::abs(now - mean[k]);
      }
    }
  }

  // Score of each triplet: that of its singular value and the means of those of its two vectors.
  std::vector<float> triplet_scores(const AdaloraMethod& method) const {
    int64_t r = method.a->shape[0], in = method.a->shape[1], out = method.b->shape[0];
    auto score = [&](const Parameter& p, int64_t k) {
      const Importance& i = importance_.at(p.name);
      return static_cast<double>(i.mean.data<float>()[k] * i.uncertainty.data<float>()[k]);
    };
    std::vector<float> scores(static_cast<size_t>(r));
    for (int64_t k = 0; k < r; ++k) {
      double a = 0, b = 0;
      for (int64_t j = 0; j < in; ++j) a += score(*method.a, k * in + j);
      for (int64_t o = 0; o < out; ++o) b += score(*method.b, o * r + k);
      scores[static_cast<size_t>(k)] = static_cast<float>(score(*method.e, k) + a / static_cast<double>(in) +
                                                          b / static_cast<double>(out));
    }
    return scores;
  }

  void mask_to_budget(int64_t budget) {
    if (importance_.empty()) return;
    std::vector<std::vector<float>> scores;
    std::vector<float> all;
    for (const Site& site : sites_) {
      scores.push_back(triplet_scores(ada(site)));
      all.insert(all.end(), scores.back().begin(), scores.back().end());
    }
    auto kth = all.begin() + (init_budget_ - budget - 1);
    std::nth_element(all.begin(), kth, all.end());
    float threshold = *kth;
    for (size_t s = 0; s < sites_.size(); ++s) {
      std::vector<bool>& mask = masks_[sites_[s].linear->path];
      mask.clear();
      for (float score : scores[s]) mask.push_back(!(score <= threshold));
    }
    apply_masks();
  }

  void apply_masks() {
    for (const Site& site : sites_) {
      auto mask = masks_.find(site.linear->path);
      if (mask == masks_.end()) continue;
      for (size_t k = 0; k < mask->second.size(); ++k)
        if (!mask->second[k]) ada(site).e->value.data<float>()[k] = 0.0f;
    }
  }

  // The kept rows, or columns of B.
  static Tensor kept(const Parameter& p, const std::vector<bool>& mask, bool columns) {
    int64_t rank = std::count(mask.begin(), mask.end(), true), r = static_cast<int64_t>(mask.size());
    if (rank == r) return p.value;
    int64_t rows = p.shape[0], cols = p.shape[1];
    Tensor out = Tensor::empty(columns ? Shape{rows, rank} : Shape{rank, cols}, DType::kF32);
    float* target = out.data<float>();
    for (int64_t i = 0; i < rows; ++i)
      for (int64_t j = 0; j < cols; ++j)
        if (mask[static_cast<size_t>(columns ? j : i)]) *target++ = p.value.data<float>()[i * cols + j];
    return out;
  }

  AdaloraConfig ada_;
  int64_t init_budget_ = 0, target_budget_ = 0;
  std::map<std::string, Importance> importance_;    // by parameter
  std::map<std::string, std::vector<bool>> masks_;  // by path of the linear
};

}  // namespace

uint64_t adalora_state_bytes(const Adapter& adapter) {
  if (!dynamic_cast<const AdaloraAdapter*>(&adapter)) return 0;
  uint64_t bytes = 0;
  for (const Parameter* p : adapter.parameters()) bytes += 2 * 4 * static_cast<uint64_t>(p->numel());
  return bytes;
}

std::unique_ptr<Adapter> make_adalora(CausalLM& model, AdapterConfig config) {
  return std::make_unique<AdaloraAdapter>(model, std::move(config));
}

}  // namespace fettle
