// Qwen2ForCausalLM: Qwen2, Qwen2.5, DeepSeek-R1-Distill-Qwen. Biases on q, k and v only.
#include <nlohmann/json.hpp>

#include "fettle/base/error.h"
#include "fettle/models/architectures.h"
#include "fettle/models/gated_decoder.h"

namespace fettle {

std::vector<int64_t> qwen_windows(const ModelConfig& config) {
  ConfigFields fields(*config.raw, config.path.string());
  size_t layers = static_cast<size_t>(config.num_hidden_layers);
  std::vector<int64_t> windows(layers, 0);
  if (!fields.boolean("use_sliding_window", false)) return windows;
  int64_t window = fields.integer("sliding_window", 4096, 1, int64_t{1} << 31);
  if (fields.has("layer_types")) {
    const Json& types = (*config.raw)["layer_types"];
    if (!types.is_array() || types.size() != layers)
      fail_input("{}: layer_types must list one type for each of the {} layers", fields.origin(), layers);
    for (size_t i = 0; i < layers; ++i)
      if (types[i] == "sliding_attention") windows[i] = window;
    return windows;
  }
  int64_t first = fields.integer("max_window_layers", 28, 0, 1 << 16);
  for (size_t i = static_cast<size_t>(std::min<int64_t>(first, config.num_hidden_layers)); i < layers; ++i)
    windows[i] = window;
  return windows;
}

std::unique_ptr<CausalLM> build_qwen2(const ModelConfig& config) {
  return make_gated_decoder(config, {.qkv_bias = true, .windows = qwen_windows(config)});
}

}  // namespace fettle
