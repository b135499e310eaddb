// LlamaForCausalLM: Llama 2 and 3, deepseek-llm, TinyStories-size models.
#include "fettle/models/architectures.h"
#include "fettle/models/gated_decoder.h"

namespace fettle {

std::unique_ptr<CausalLM> build_llama(const ModelConfig& config) {
  ConfigFields fields(*config.raw, config.path.string());
  bool bias = fields.boolean("attention_bias", false);
  return make_gated_decoder(
      config, {.qkv_bias = bias, .output_bias = bias, .mlp_bias = fields.boolean("mlp_bias", false)});
}

}  // namespace fettle
