// Qwen3ForCausalLM: norms on q and k, head_dim of its own (128 unless given).
#include "fettle/models/architectures.h"
#include "fettle/models/gated_decoder.h"

namespace fettle {

std::unique_ptr<CausalLM> build_qwen3(const ModelConfig& base) {
  ModelConfig config = base;
  ConfigFields fields(*config.raw, config.path.string());
  if (!fields.has("head_dim")) config.head_dim = config.rotary.rotary_dim = 128;
  bool bias = fields.boolean("attention_bias", false);
  return make_gated_decoder(
      config, {.qkv_bias = bias, .output_bias = bias, .qk_norm = true, .windows = qwen_windows(config)});
}

}  // namespace fettle
