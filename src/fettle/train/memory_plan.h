// The peak memory of a run, predicted before its first step.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "fettle/models/causal_lm.h"
#include "fettle/train/optimizers/optimizer.h"

namespace fettle {

struct MemoryPlan {
  uint64_t weights = 0;    ///< base weights in their stored dtype, mapped pages included
  uint64_t trainable = 0;  ///< trainable weights that are not part of the base (adapters), f32
  uint64_t gradients = 0;
  uint64_t optimizer = 0;
  uint64_t activations = 0;  ///< of the largest micro-batch, forward and backward
  uint64_t head = 0;         ///< logits of one chunk and the gradient of the hidden states
  uint64_t workspace = 0;    ///< packed panels, rotary tables, the program
  uint64_t total() const {
    return weights + trainable + gradients + optimizer + activations + head + workspace;
  }
};

/// `tokens`: of the largest micro-batch. Counts what the ops of models/decoder.cpp keep for backward.
MemoryPlan plan_memory(CausalLM& model, const std::vector<Parameter*>& trainable, int64_t tokens,
                       DType compute, bool gradient_checkpointing, const OptimizerOptions& optimizer);

}  // namespace fettle
