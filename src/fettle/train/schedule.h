// Learning-rate schedules with the names and formulas of transformers.optimization, plus `exponential`.
#pragma once
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "fettle/base/json.h"

namespace fettle {

/// Everything a schedule depends on.
struct ScheduleSpec {
  std::string type = "linear";  ///< lr_scheduler_type
  double learning_rate = 5e-5;
  int64_t warmup_steps = 0;
  int64_t total_steps = 1;
  std::shared_ptr<const Json> options;  ///< lr_scheduler_kwargs; null: none
};

/// Factor of the learning rate at optimizer step s (0-based; LambdaLR's λ(s)).
using Schedule = std::function<double(int64_t step)>;

/// Error(kUsage) for an unknown type (listing the known ones), an unknown or missing lr_scheduler_kwargs key.
Schedule make_schedule(const ScheduleSpec& spec);
std::vector<std::string> schedule_names();

/// torch.optim.lr_scheduler.ReduceLROnPlateau between two evaluations.
struct PlateauState {
  double rate = 0;  ///< the learning rate now
  double best = 0;
  bool seen = false;
  int64_t bad = 0, cooldown = 0;
};

/// Its parameters, from lr_scheduler_kwargs.
struct PlateauRule {
  bool greater = false;  ///< mode max
  double factor = 0.1, threshold = 1e-4, min_lr = 0, eps = 1e-8;
  bool relative = true;  ///< threshold_mode rel
  int64_t patience = 10, cooldown = 0;
  void see(double metric, PlateauState& state) const;
};
/// Error(kUsage) for an unknown key or a value that does not fit.
PlateauRule make_plateau_rule(const Json* options);

/// warmup_steps when positive, else ceil(total * ratio), as TrainingArguments.get_warmup_steps.
int64_t warmup_steps(int64_t steps, double ratio, int64_t total);

}  // namespace fettle
