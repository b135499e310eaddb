// config.json of a Hugging Face model folder, checked.
#pragma once
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "fettle/base/json.h"
#include "fettle/nn/rotary.h"
#include "fettle/tensor/dtype.h"

namespace fettle {

/// Fields that every decoder of this program shares. Sizes are positive and consistent once parsed.
struct ModelConfig {
  std::string architecture;  ///< first of `architectures`
  std::string model_type;
  int64_t vocab_size = 0, hidden_size = 0, intermediate_size = 0, num_hidden_layers = 0;
  int64_t num_attention_heads = 0, num_key_value_heads = 0, head_dim = 0;
  int64_t max_position_embeddings = 2048;
  float rms_norm_eps = 1e-6f;  ///< of LayerNorm where the model has those
  bool tie_word_embeddings = false;
  RotarySpec rotary;
  DType dtype = DType::kF32;  ///< torch_dtype / dtype: what new weights are made in
  double initializer_range = 0.02;
  std::vector<int32_t> eos_token_ids;  ///< of generation_config.json where present, else of config.json
  std::optional<int32_t> bos_token_id;
  std::filesystem::path path;       ///< of config.json, for messages
  std::shared_ptr<const Json> raw;  ///< the whole file
};

/// Reader of single fields with bounds; errors name file and field.
class ConfigFields {
 public:
  ConfigFields(const Json& json, std::string origin) : json_(json), origin_(std::move(origin)) {}
  bool has(const char* key) const;
  int64_t integer(const char* key, std::optional<int64_t> fallback, int64_t low, int64_t high) const;
  double number(const char* key, std::optional<double> fallback, double low, double high) const;
  bool boolean(const char* key, bool fallback) const;
  std::string string(const char* key, std::optional<std::string> fallback) const;
  const std::string& origin() const { return origin_; }

 private:
  const Json& json_;
  std::string origin_;
};

/// Reads and checks <folder>/config.json (and generation_config.json for the eos ids).
ModelConfig read_model_config(const std::filesystem::path& folder);

}  // namespace fettle
