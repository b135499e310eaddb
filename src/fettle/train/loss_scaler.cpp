#include "fettle/train/loss_scaler.h"

#include <cmath>

namespace fettle {

void LossScaler::see(bool finite, LossScaleState& state) const {
  if (!finite) {
    state.scale *= backoff;
    state.good_steps = 0;
    ++state.skipped;
    ++state.skipped_in_a_row;
    return;
  }
  state.skipped_in_a_row = 0;
  if (++state.good_steps < growth_interval) return;
  state.good_steps = 0;
  // GradScaler keeps its scale in f32.
  if (std::isfinite(static_cast<float>(state.scale * growth))) state.scale *= growth;
}

bool LossScaler::exhausted(const LossScaleState& state) const {
  return state.skipped_in_a_row >= most_skipped_in_a_row || state.scale < floor;
}

}  // namespace fettle
