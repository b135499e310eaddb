// MistralForCausalLM: sliding-window attention in every layer (4096 unless the config says null or another
// size).
#include <nlohmann/json.hpp>

#include "fettle/models/architectures.h"
#include "fettle/models/gated_decoder.h"

namespace fettle {

std::unique_ptr<CausalLM> build_mistral(const ModelConfig& config) {
  ConfigFields fields(*config.raw, config.path.string());
  bool none = config.raw->contains("sliding_window") && (*config.raw)["sliding_window"].is_null();
  int64_t window = none ? 0 : fields.integer("sliding_window", 4096, 1, int64_t{1} << 31);
  return make_gated_decoder(
      config, {.windows = std::vector<int64_t>(static_cast<size_t>(config.num_hidden_layers), window)});
}

}  // namespace fettle
