// Tables of the rotary position embedding and its context extensions.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "fettle/autograd/ops.h"

namespace fettle {

/// rope_theta and the rope_scaling / rope_parameters section of config.json.
struct RotarySpec {
  std::string type = "default";  ///< default, linear, dynamic, llama3, yarn
  int64_t rotary_dim = 0;        ///< head_dim unless the model rotates a part
  double theta = 10000.0;
  int64_t max_position_embeddings = 2048;
  double factor = 1.0;
  // llama3 and yarn
  int64_t original_max_position_embeddings = 0;  ///< 0: max_position_embeddings
  double low_freq_factor = 1.0, high_freq_factor = 4.0;
  // yarn; 0: not given
  double beta_fast = 32.0, beta_slow = 1.0;
  double attention_factor = 0.0, mscale = 0.0, mscale_all_dim = 0.0;
  bool truncate = true;
};

/// Inverse frequencies [rotary_dim/2] for a pass whose largest position is sequence_length - 1, and the
/// factor that multiplies cos and sin. As transformers' modeling_rope_utils.py: linear (kaiokendev), dynamic
/// NTK (emozilla), llama3 (Llama 3.1 report), YaRN (Peng et al., arXiv 2309.00071).
std::vector<float> rotary_inverse_frequencies(const RotarySpec& spec, int64_t sequence_length,
                                              float& attention_factor);

/// Tables that grow with the longest position asked for.
class RotaryEmbedding {
 public:
  explicit RotaryEmbedding(RotarySpec spec) : spec_(std::move(spec)) {}
  const RotarySpec& spec() const { return spec_; }
  /// cos and sin for positions 0 … positions-1. Dynamic NTK depends on `positions` itself beyond the trained
  /// length.
  RotaryTable table(int64_t positions);

 private:
  RotarySpec spec_;
  RotaryTable cached_;
  int64_t cached_positions_ = 0;
};

}  // namespace fettle
