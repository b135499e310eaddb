// (IA)³ (Liu et al., arXiv 2205.05638): learned scales on the outputs of linears, or on the inputs of
// feed-forward ones. PEFT: tuners/ia3.
#include "fettle/base/error.h"
#include "fettle/peft/methods.h"

namespace fettle {
namespace {

class Ia3Method final : public LinearMethod {
 public:
  Ia3Method(const Linear& linear, bool feedforward)
      : feedforward_(feedforward),
        scales(adapter_parameter(linear.path + ".ia3_l", feedforward ? Shape{1, linear.in_features}
                                                                     : Shape{linear.out_features, 1})) {}
  Var forward(Context& context, const LinearBelow& below, const Var& x) override {
    if (feedforward_) return below(context, scale_columns(context, x, leaf(context, *scales)));
    return scale_columns(context, below(context, x), leaf(context, *scales));
  }
  std::vector<Parameter*> parameters() override { return {scales.get()}; }
  void merge(Tensor& weight, Tensor& bias) const override {
    const float* s = scales->value.data<float>();
    for (int64_t o = 0; o < weight.dim(0); ++o) {
      Tensor row = weight.rows_view(o, o + 1);
      if (feedforward_)
        cpu_backend().multiply(row, scales->value, row);
      else
        cpu_backend().scale(row, s[o]);
    }
    if (bias.defined() && !feedforward_) cpu_backend().multiply(bias, scales->value, bias);
  }

 private:
  bool feedforward_;

 public:
  std::shared_ptr<Parameter> scales;
};

class Ia3Adapter final : public LinearAdapter {
 public:
  Ia3Adapter(CausalLM& model, AdapterConfig config) : LinearAdapter(model, std::move(config)) {
    const Json& keys = config_.sorted();
    if (keys.contains("feedforward_modules") && !keys["feedforward_modules"].is_null()) {
      const Json& value = keys["feedforward_modules"];
      if (value.is_string())
        feedforward_.pattern = value.get<std::string>();
      else if (value.is_array())
        for (const Json& item : value)
          feedforward_.modules.push_back(item.is_string() ? item.get<std::string>() : std::string());
      else
        fail_input("{}: feedforward_modules must be a list or a regex", config_.origin);
    } else if (config_.targets.modules.empty() && config_.targets.pattern.empty()) {
      feedforward_.modules = default_ia3_targets(model_.config().model_type).feedforward;
    }
  }
  std::string description() const override { return fmt::format("IA3 on {} linears", sites_.size()); }

 protected:
  std::vector<std::string> default_target_modules() const override {
    return default_ia3_targets(model_.config().model_type).modules;
  }
  std::shared_ptr<LinearMethod> make_method(Linear& linear) override {
    return std::make_shared<Ia3Method>(linear, targets_module(feedforward_, linear.path, false));
  }
  void initialise(uint64_t seed) override {
    bool ones = config_.fields().boolean("init_ia3_weights", true);
    for (Parameter* parameter : own_parameters())
      ones ? fill_value(*parameter, 1.0f) : fill_normal(*parameter, 1.0, seed);
  }
  Json saved_keys() const override {
    Json keys = {{"fan_in_fan_out", !sites_.empty() && sites_.front().linear->conv1d},
                 {"feedforward_modules",
                  feedforward_.pattern.empty() ? Json(feedforward_.modules) : Json(feedforward_.pattern)},
                 {"init_ia3_weights", true}};
    Json targets = target_keys();
    keys["target_modules"] = targets["target_modules"];
    if (targets.contains("exclude_modules")) keys["exclude_modules"] = targets["exclude_modules"];
    return keys;
  }

 private:
  TargetSpec feedforward_;
};

}  // namespace

std::unique_ptr<Adapter> make_ia3(CausalLM& model, AdapterConfig config) {
  return std::make_unique<Ia3Adapter>(model, std::move(config));
}

}  // namespace fettle
