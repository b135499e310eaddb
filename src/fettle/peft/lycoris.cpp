#include "fettle/peft/lycoris.h"

#include "fettle/base/error.h"
#include "fettle/base/random.h"

namespace fettle {

int64_t LycorisConfig::rank_of(const std::string& path) const {
  return pattern_value(rank_pattern, path, r);
}

double LycorisConfig::scale_of(const std::string& path) const {
  return pattern_value(alpha_pattern, path, alpha) / static_cast<double>(rank_of(path));
}

LycorisConfig parse_lycoris_config(const AdapterConfig& config) {
  ConfigFields fields = config.fields();
  LycorisConfig lycoris;
  lycoris.r = fields.integer("r", 8, 1, 1 << 16);
  lycoris.alpha = fields.number("alpha", 8, -1e9, 1e9);
  lycoris.rank_dropout = fields.number("rank_dropout", 0, 0, 1);
  lycoris.module_dropout = fields.number("module_dropout", 0, 0, 1);
  lycoris.rank_dropout_scale = fields.boolean("rank_dropout_scale", config.peft_type == "LOHA");
  read_pattern(config, "rank_pattern", lycoris.rank_pattern);
  read_pattern(config, "alpha_pattern", lycoris.alpha_pattern);
  return lycoris;
}

Json lycoris_keys(const LycorisConfig& config) {
  return {{"r", config.r},
          {"alpha", whole_or_real(config.alpha)},
          {"rank_dropout", config.rank_dropout},
          {"module_dropout", config.module_dropout},
          {"rank_pattern", pattern_json(config.rank_pattern)},
          {"alpha_pattern", pattern_json(config.alpha_pattern)},
          {"use_effective_conv2d", false},
          {"init_weights", true}};
}

LycorisMethod::LycorisMethod(const Linear& linear, const LycorisConfig& config)
    : scale_(static_cast<float>(config.scale_of(linear.path))),
      rank_dropout_(static_cast<float>(config.rank_dropout)),
      module_dropout_(static_cast<float>(config.module_dropout)),
      rank_dropout_scale_(config.rank_dropout_scale),
      site_(random_site(linear.path)),
      out_features_(linear.out_features) {
  if (linear.conv1d)
    fail_usage("{}: LoHa and LoKr are not defined for Conv1D weights (GPT-2), in PEFT neither", linear.path);
}

Var LycorisMethod::forward(Context& context, const LinearBelow& below, const Var& x) {
  Var y = below(context, x);
  RandomStream stream({context.seed, RandomUse::kDropout, site_, context.step});
  if (context.training && module_dropout_ > 0 && stream.uniform() <= module_dropout_) return y;
  Var d = delta(context, x);
  if (context.training && rank_dropout_ > 0) {
    std::vector<float> mask(static_cast<size_t>(out_features_));
    float kept = 0;
    for (float& m : mask) kept += m = stream.uniform() > rank_dropout_ ? 1.0f : 0.0f;
    if (rank_dropout_scale_ && kept > 0)
      for (float& m : mask) m *= static_cast<float>(out_features_) / kept;
    d = scale_columns(context, d, Var(Tensor::from(mask, {out_features_})));
  }
  return add(context, y, d);
}

}  // namespace fettle
