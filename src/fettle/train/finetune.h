// From the options of a run to trained weights: what `fettle train` does.
#pragma once
#include "fettle/base/config/config.h"
#include "fettle/train/estimate.h"

namespace fettle {

enum class RunMode {
  kTrain,
  kDryRun,    ///< stops before the first step and writes nothing
  kProfile,   ///< trains three steps, saves no weights, and says where the time went
  kEstimate,  ///< as a dry run, and says what the run would take and what would change it
};

/// Reads model, tokenizer and data, says what it will do, trains and writes the output folder. A run that was
/// asked to stop ends with Error(kResumable) after saving; one that cannot fit into memory is refused with
/// Error(kResources) unless memory_check is warn.
void run_finetuning(const Config& config, RunMode mode, const EstimateOptions& estimate = {});

}  // namespace fettle
