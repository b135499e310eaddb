// Bias tuning: BitFit (Ben Zaken et al., arXiv 2106.10199) in the form of PEFT's BEFT, a learned vector added
// to the bias of each chosen linear. From zero it takes the same path as the bias itself.
#include "fettle/base/error.h"
#include "fettle/peft/methods.h"

namespace fettle {
namespace {

class BeftMethod final : public LinearMethod {
 public:
  explicit BeftMethod(const Linear& linear)
      : vector(adapter_parameter(linear.path + ".beft_bias", {1, linear.out_features})) {}
  Var forward(Context& context, const LinearBelow& below, const Var& x) override {
    return add_row(context, below(context, x), *vector);
  }
  std::vector<Parameter*> parameters() override { return {vector.get()}; }
  void merge(Tensor&, Tensor& bias) const override {
    if (!bias.defined())
      fail_usage("{}: the base linear has no bias, so a learned one cannot be merged into it", vector->name);
    cpu_backend().add(bias, vector->value, bias);
  }

  std::shared_ptr<Parameter> vector;
};

class BeftAdapter final : public LinearAdapter {
 public:
  BeftAdapter(CausalLM& model, AdapterConfig config) : LinearAdapter(model, std::move(config)) {}
  std::string description() const override { return fmt::format("biases of {} linears", sites_.size()); }

 protected:
  std::vector<std::string> default_target_modules() const override { return {"v_proj"}; }
  std::shared_ptr<LinearMethod> make_method(Linear& linear) override {
    return std::make_shared<BeftMethod>(linear);
  }
  void initialise(uint64_t seed) override {
    if (config_.fields().boolean("init_weights", true)) return;
    for (Parameter* parameter : own_parameters()) fill_normal(*parameter, 1.0, seed);
  }
  Json saved_keys() const override {
    return {{"init_weights", true}, {"target_modules", target_keys()["target_modules"]}};
  }
};

}  // namespace

std::unique_ptr<Adapter> make_beft(CausalLM& model, AdapterConfig config) {
  return std::make_unique<BeftAdapter>(model, std::move(config));
}

}  // namespace fettle
