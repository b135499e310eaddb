// Merging adapters into a full model folder.
#pragma once
#include <filesystem>
#include <functional>

#include "fettle/peft/lora.h"

namespace fettle {

/// Writes `output` as a copy of the model folder `base` whose linears have the adapters mounted on `model`
/// added in (f32 arithmetic, then the stored dtype). Weights stream tensor by tensor; everything else of the
/// folder is copied. The folder is whole or absent. A merged weight that is not finite: Error(kBadInput)
/// naming it.
void merge_to_folder(CausalLM& model, const std::filesystem::path& base, const std::filesystem::path& output,
                     uint64_t max_shard_bytes, const std::function<void(uint64_t, uint64_t)>& progress);

}  // namespace fettle
