// LoHa, the Hadamard product of two low-rank matrices (Hyeon-Woo et al., FedPara, arXiv 2108.06098):
// ΔW = (w1_a w1_b) ∘ (w2_a w2_b) · alpha / r. PEFT: tuners/loha.
#include "fettle/peft/lycoris.h"
#include "fettle/peft/methods.h"

namespace fettle {
namespace {

class LohaMethod final : public LycorisMethod {
 public:
  LohaMethod(const Linear& linear, const LycorisConfig& config) : LycorisMethod(linear, config) {
    int64_t r = config.rank_of(linear.path);
    w1_a = adapter_parameter(linear.path + ".hada_w1_a", {linear.out_features, r});
    w1_b = adapter_parameter(linear.path + ".hada_w1_b", {r, linear.in_features});
    w2_a = adapter_parameter(linear.path + ".hada_w2_a", {linear.out_features, r});
    w2_b = adapter_parameter(linear.path + ".hada_w2_b", {r, linear.in_features});
  }
  std::vector<Parameter*> parameters() override { return {w1_a.get(), w1_b.get(), w2_a.get(), w2_b.get()}; }
  void merge(Tensor& weight, Tensor&) const override {
    Context context{.backend = &cpu_backend(), .compute = DType::kF32};
    cpu_backend().axpy(scale_, product(context).value, weight);
  }

  std::shared_ptr<Parameter> w1_a, w1_b, w2_a, w2_b;

 protected:
  Var delta(Context& context, const Var& x) override {
    return matmul(context, x, product(context), true, scale_);
  }

 private:
  Var product(Context& context) const {
    return multiply(context, matmul(context, leaf(context, *w1_a), leaf(context, *w1_b)),
                    matmul(context, leaf(context, *w2_a), leaf(context, *w2_b)));
  }
};

class LohaAdapter final : public LinearAdapter {
 public:
  LohaAdapter(CausalLM& model, AdapterConfig config)
      : LinearAdapter(model, std::move(config)), loha_(parse_lycoris_config(config_)) {}
  std::string description() const override {
    return fmt::format("LoHa, r {}, alpha {}", loha_.r, loha_.alpha);
  }

 protected:
  std::shared_ptr<LinearMethod> make_method(Linear& linear) override {
    return std::make_shared<LohaMethod>(linear, loha_);
  }
  void initialise(uint64_t seed) override {
    for (Parameter* parameter : own_parameters()) fill_kaiming_uniform(*parameter, seed);
    if (!config_.fields().boolean("init_weights", true)) return;
    for (const Site& site : sites_) fill_value(*static_cast<LohaMethod&>(*site.method).w2_b, 0.0f);
  }
  Json saved_keys() const override {
    Json keys = lycoris_keys(loha_);
    keys.update(target_keys());
    return keys;
  }

 private:
  LycorisConfig loha_;
};

}  // namespace

std::unique_ptr<Adapter> make_loha(CausalLM& model, AdapterConfig config) {
  return std::make_unique<LohaAdapter>(model, std::move(config));
}

}  // namespace fettle
