#include "fettle/train/memory_plan.h"

#include <set>

#include "fettle/autograd/ops.h"
#include "fettle/base/error.h"

namespace fettle {

MemoryPlan plan_memory(CausalLM& model, const std::vector<Parameter*>& trainable, int64_t tokens,
                       DType compute, bool gradient_checkpointing, const OptimizerOptions& optimizer) {
  const ModelConfig& c = model.config();
  MemoryPlan plan;
  std::set<const Parameter*> base;
  for (const Parameter* parameter : model.parameters()) {
    base.insert(parameter);
    plan.weights += parameter->nbytes();
  }
  int64_t rank_sum = 0;  // of the low-rank projections that one layer keeps
  for (const Parameter* parameter : trainable) {
    uint64_t f32 = static_cast<uint64_t>(parameter->numel()) * 4;
    if (!base.contains(parameter)) plan.trainable += f32;
    plan.gradients += f32;
    plan.optimizer += planned_state_bytes(*parameter, optimizer);
    if (parameter->name.ends_with("lora_A.weight")) rank_sum += parameter->shape[0];
  }
  rank_sum /= std::max<int64_t>(1, c.num_hidden_layers);

  uint64_t element = dtype_size(compute), t = static_cast<uint64_t>(tokens);
  uint64_t hidden = static_cast<uint64_t>(c.hidden_size), ffn = static_cast<uint64_t>(c.intermediate_size);
  uint64_t query = static_cast<uint64_t>(c.num_attention_heads * c.head_dim);
  uint64_t key = static_cast<uint64_t>(c.num_key_value_heads * c.head_dim);
  // Kept by a block: two residual sums, two norms, q, k, v, the attention output, gate, up and their product,
  // the low-rank projections; log-sum-exp and 1/std in f32.
  uint64_t block =
      t * (element * (4 * hidden + 2 * query + 2 * key + 3 * ffn + static_cast<uint64_t>(rank_sum)) +
           4 * static_cast<uint64_t>(c.num_attention_heads + 2));
  // Gradients alive at once in the backward of the gated MLP.
  uint64_t backward = t * element * (3 * ffn + 3 * hidden);
  uint64_t layers = static_cast<uint64_t>(c.num_hidden_layers);
  // A checkpoint keeps the residual stream and the addition that the next block fuses with its norm.
  plan.activations = gradient_checkpointing ? layers * 2 * t * element * hidden + block + backward
                                            : layers * block + backward;
  plan.head = static_cast<uint64_t>(loss_chunk_rows(c.vocab_size, compute)) *
                  static_cast<uint64_t>(c.vocab_size) * element +
              2 * t * hidden * element;
  plan.workspace = (uint64_t{48} << 20) + t * query * 4;
  return plan;
}

}  // namespace fettle
