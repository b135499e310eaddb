// The factor on the loss of an fp16 run, with the rules of torch.amp.GradScaler: it lifts gradients out of
// the range where float16 rounds them to zero (Micikevicius et al., arXiv 1710.03740), falls when they
// overflow and rises again after many steps without an overflow.
#pragma once
#include <cstdint>

namespace fettle {

/// Where a scaler stands between two steps.
struct LossScaleState {
  double scale = 0;        ///< of the next step; 0: the run has not begun
  int64_t good_steps = 0;  ///< in a row, since the scale last changed
  int64_t skipped = 0;     ///< steps of the run whose gradients were not finite
  int64_t skipped_in_a_row = 0;
};

struct LossScaler {
  double initial = 65536, growth = 2, backoff = 0.5;
  int64_t growth_interval = 2000;
  /// Beyond these no scale helps: gradients are not finite for another reason than float16's range.
  int64_t most_skipped_in_a_row = 20;
  double floor = 1e-4;

  /// After the gradients of a step: whether all were finite, so that the weights were updated.
  void see(bool finite, LossScaleState& state) const;
  bool exhausted(const LossScaleState& state) const;
};

}  // namespace fettle
