// Rows of a data set as a model takes them.
#pragma once
#include <span>

#include "fettle/data/packing.h"
#include "fettle/models/causal_lm.h"

namespace fettle {

/// A packed batch as input.
ModelInput packed_input(const PackedBatch& batch);
/// The same for this model, whose prompt of virtual tokens may predict the first token of each sequence.
ModelInput model_input(const CausalLM& model, const PackedBatch& batch);
/// Packs rows; with such a prompt the labels of first tokens stand behind the others, as PEFT's labels begin
/// there.
PackedBatch pack_for(const CausalLM& model, const Examples& examples, std::span<const int64_t> rows);

}  // namespace fettle
