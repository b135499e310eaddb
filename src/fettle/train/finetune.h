// From the options of a run to trained weights: what `fettle train` does.
#pragma once
#include "fettle/base/config/config.h"

namespace fettle {

/// Reads model, tokenizer and data, says what it will do, trains and writes the output folder. With `dry_run`
/// it stops before the first step and writes nothing. A run that was asked to stop ends with
/// Error(kResumable) after saving.
void run_finetuning(const Config& config, bool dry_run);

}  // namespace fettle
