// The arguments of the training loop out of a run's options.
#pragma once
#include "fettle/base/config/config.h"
#include "fettle/train/trainer.h"

namespace fettle {

/// Everything that does not depend on the number of steps. Error(kUsage) naming options that contradict each
/// other.
TrainArguments train_arguments(const Config& config, DType compute);
/// per_device_train_batch_size; the 8 that `auto` stands for.
int64_t batch_rows(const Config& config);
/// Options that count steps, and fractions of all steps, which need the number of rows.
void resolve_steps(const Config& config, TrainArguments& arguments, int64_t examples);
/// Error(kUsage) when metric_for_best_model is not among those that are measured.
void check_metric(const TrainArguments& arguments, const Evaluator& evaluator);

}  // namespace fettle
