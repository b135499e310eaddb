// LoRA adapter folders without a model: what combining, converting and comparing adapters work on.
#pragma once
#include <filesystem>
#include <string>
#include <vector>

#include "fettle/peft/adapter_config.h"
#include "fettle/tensor/tensor.h"

namespace fettle {

/// The low-rank term of one module: scale * b a is added to its weight [out, in]. For an embedding a is
/// lora_embedding_A [r, rows] and b lora_embedding_B [width, r], whose product is the transposed table.
struct LoraPair {
  std::string module;  ///< "model.layers.0.self_attn.q_proj"
  bool embedding = false;
  double scale = 1;
  Tensor a, b;  ///< f32 [r, in], [out, r]
  int64_t rank() const { return a.dim(0); }
};

struct LoraFolder {
  std::string base_model_name_or_path;
  std::vector<LoraPair> pairs;  ///< sorted by module

  const LoraPair* find(const std::string& module) const;
};

/// Reads a plain LoRA. Error(kUsage) for another method and for what such pairs cannot say: DoRA, biases,
/// lora_bias, modules trained in full, initialisations that change the base.
LoraFolder read_lora_folder(const std::filesystem::path& folder);
/// Into an existing folder: scales become part of b, alpha equals the rank, and target_modules names every
/// module by its path, so that PEFT and Fettle load it on any base of the same shapes.
void write_lora_folder(const LoraFolder& lora, const std::filesystem::path& folder, DType dtype);

/// Everything that an adapter folder stores, under plain keys (no "base_model.model.", no adapter names),
/// f32.
std::map<std::string, Tensor> read_adapter_tensors(const std::filesystem::path& folder);

}  // namespace fettle
