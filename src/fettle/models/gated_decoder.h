// The pre-norm decoder that the Llama family shares: RMSNorm, grouped-query attention with rotary positions,
// gated MLP.
#pragma once
#include <memory>
#include <vector>

#include "fettle/models/causal_lm.h"

namespace fettle {

/// What tells one architecture of the family from another.
struct GatedDecoderOptions {
  bool qkv_bias = false;
  bool output_bias = false;  ///< bias of o_proj
  bool mlp_bias = false;
  bool qk_norm = false;               ///< RMSNorm over head_dim of q and k before rotary (Qwen3)
  std::vector<int64_t> windows = {};  ///< for each layer: 0 = full attention, else the sliding window
};

std::unique_ptr<CausalLM> make_gated_decoder(const ModelConfig& config, const GatedDecoderOptions& options);

/// Sliding windows of each layer from `layer_types`, else from use_sliding_window / max_window_layers (Qwen).
std::vector<int64_t> qwen_windows(const ModelConfig& config);

}  // namespace fettle
