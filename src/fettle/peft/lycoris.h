// What LoHa and LoKr share (PEFT: tuners/lycoris_utils.py): rank and alpha by module, and dropout of whole
// modules and of output rows.
#pragma once
#include "fettle/peft/adapter.h"

namespace fettle {

struct LycorisConfig {
  int64_t r = 8;
  double alpha = 8;
  double rank_dropout = 0, module_dropout = 0;
  bool rank_dropout_scale = true;  ///< divide the mask by its mean
  std::vector<std::pair<std::string, int64_t>> rank_pattern;
  std::vector<std::pair<std::string, double>> alpha_pattern;

  int64_t rank_of(const std::string& path) const;
  double scale_of(const std::string& path) const;
};
LycorisConfig parse_lycoris_config(const AdapterConfig& config);
Json lycoris_keys(const LycorisConfig& config);

/// y = below(x) + delta(x), with the two dropouts in training.
class LycorisMethod : public LinearMethod {
 public:
  LycorisMethod(const Linear& linear, const LycorisConfig& config);
  Var forward(Context& context, const LinearBelow& below, const Var& x) final;

 protected:
  /// x ΔWᵀ, in the dtype of x.
  virtual Var delta(Context& context, const Var& x) = 0;
  float scale_;

 private:
  float rank_dropout_, module_dropout_;
  bool rank_dropout_scale_;
  uint32_t site_;
  int64_t out_features_;
};

}  // namespace fettle
