#include "fettle/train/model_batch.h"

namespace fettle {
namespace {

bool predicts_first_tokens(const CausalLM& model) {
  return model.prompt && model.prompt->active && model.prompt->in_embeddings();
}

}  // namespace

ModelInput packed_input(const PackedBatch& batch) {
  ModelInput input;
  input.ids = std::make_shared<std::vector<int32_t>>(batch.ids);
  auto packing = std::make_shared<Packing>();
  packing->positions = batch.positions;
  packing->cu_seqlens = packing->cu_keys = batch.cu_seqlens;
  input.packing = std::move(packing);
  return input;
}

ModelInput model_input(const CausalLM& model, const PackedBatch& batch) {
  ModelInput input = packed_input(batch);
  input.with_prompt_outputs = predicts_first_tokens(model);
  return input;
}

PackedBatch pack_for(const CausalLM& model, const Examples& examples, std::span<const int64_t> rows) {
  PackedBatch batch = pack_examples(examples, rows);
  if (predicts_first_tokens(model))
    batch.labels.insert(batch.labels.end(), batch.first_labels.begin(), batch.first_labels.end());
  return batch;
}

}  // namespace fettle
