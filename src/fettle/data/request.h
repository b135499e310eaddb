// The options of a run that concern its data.
#pragma once
#include "fettle/base/config/config.h"
#include "fettle/data/dataset.h"

namespace fettle {

/// Opens the tokenizer of model_name_or_path (null when the folder has none) and the template, and fills in
/// what the options say. `vocab_size`: ids that the model knows; 0 takes the tokenizer's. Error(kBadInput)
/// when the tokenizer has more tokens than the model, or a template needs one and there is none.
DatasetRequest dataset_request(const Config& config, int64_t vocab_size);

}  // namespace fettle
