// LN tuning (Qi et al., arXiv 2211.08682): the weights of chosen norms are trained, everything else is
// frozen. PEFT: tuners/ln_tuning.
#include "fettle/base/error.h"
#include "fettle/peft/methods.h"

namespace fettle {
namespace {

class LnTuningAdapter final : public Adapter {
 public:
  LnTuningAdapter(CausalLM& model, AdapterConfig config) : Adapter(model, std::move(config)) {}
  std::string description() const override {
    return fmt::format("LN tuning of {} parameters of norms", replacements_.size());
  }

 protected:
  void mount() override {
    TargetSpec& targets = config_.targets;
    if (targets.modules.empty() && targets.pattern.empty())
      targets.modules = default_norm_targets(model_.config().model_type);
    std::vector<std::string> paths;
    for (Norm* norm : model_.norms()) {
      paths.push_back(norm->path);
      if (!targets_module(targets, norm->path, false)) continue;
      replace(norm->weight, norm->path + ".ln_tuning_layers.weight");
      if (norm->bias) replace(norm->bias, norm->path + ".ln_tuning_layers.bias");
    }
    if (replacements_.empty())
      fail_usage(
          "LN tuning: no norm matches target_modules [{}]; the norms are {}",
          targets.pattern.empty() ? fmt::format("{}", fmt::join(targets.modules, ", ")) : targets.pattern,
          fmt::join(paths, ", "));
  }
  void initialise(uint64_t) override {}  // the base's own values
  std::vector<Parameter*> own_parameters() const override { return {}; }
  void activate(bool) override {}
  Json saved_keys() const override {
    const TargetSpec& t = config_.targets;
    Json keys = {{"target_modules", t.pattern.empty() ? Json(t.modules) : Json(t.pattern)}};
    if (!t.exclude_modules.empty()) keys["exclude_modules"] = t.exclude_modules;
    return keys;
  }
};

}  // namespace

std::unique_ptr<Adapter> make_ln_tuning(CausalLM& model, AdapterConfig config) {
  return std::make_unique<LnTuningAdapter>(model, std::move(config));
}

}  // namespace fettle
