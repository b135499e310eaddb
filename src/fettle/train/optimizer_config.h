// From the options of a run to those of its optimizer.
#pragma once
#include <filesystem>

#include "fettle/base/config/config.h"
#include "fettle/models/causal_lm.h"
#include "fettle/train/optimizers/optimizer.h"

namespace fettle {

/// optim, optim_args, optim_target_modules and LLaMA-Factory's use_galore, use_apollo, use_muon. Paged state
/// lies in `output`. Error(kUsage) for arguments that the optimizer does not have and for optimizers that
/// exclude each other.
OptimizerOptions optimizer_options(const Config& config, CausalLM& model, const std::filesystem::path& output,
                                   int64_t warmup_steps);

}  // namespace fettle
