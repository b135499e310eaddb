// Merging adapters into a full model folder.
#pragma once
#include <filesystem>
#include <functional>

#include "fettle/models/causal_lm.h"

namespace fettle {

/// Writes `output` as a copy of the model folder `base` with the adapters mounted on `model` merged in (f32
/// arithmetic, then the stored dtype). A tied head that an adapter changed gets a weight of its own. Weights
/// stream tensor by tensor; everything else of the folder is copied. The folder is whole or absent. A merged
/// weight that is not finite: Error(kBadInput) naming it.
void merge_to_folder(CausalLM& model, const std::filesystem::path& base, const std::filesystem::path& output,
                     uint64_t max_shard_bytes, const std::function<void(uint64_t, uint64_t)>& progress,
                     bool dequantize = false);

}  // namespace fettle
