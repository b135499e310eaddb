// Model folders: weights into a model, new weights, and folders of new models.
#pragma once
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "fettle/base/config/config.h"
#include "fettle/models/causal_lm.h"

namespace fettle {

/// How the linears of a base are quantised while they are read; the head stays as it is.
struct QuantizeOptions {
  int bits = 4;  ///< 4 or 8
  QuantKind kind = QuantKind::kNF4;
  int64_t blocksize = 64;
  bool double_quantization = true;
};

/// quantization_bit and what goes with it; empty when it is unset.
std::optional<QuantizeOptions> quantize_options(const Config& config);
/// The same with `fallback_bits` when quantization_bit is unset.
QuantizeOptions quantize_options(const Config& config, int fallback_bits);

/// Quantises in place what load_model() would quantise, where it is not yet.
void quantize_linears(CausalLM& model, const QuantizeOptions& options);

struct LoadOptions {
  /// What products will run in. bf16 turns f16 and f32 weights into bf16 at load; f32 keeps stored weights as
  /// they are (they are widened panel by panel, so the numbers are those of an f32 model).
  DType compute = DType::kF32;
  /// The base itself learns: weights become copies in `trainable_dtype`.
  bool trainable_base = false;
  DType trainable_dtype = DType::kF32;
  /// Unset: linears stay as they are stored, which may be quantised as well.
  std::optional<QuantizeOptions> quantize = {};
  /// Weights that are not finite are refused, not only told in `notes`.
  bool strict_finite = false;
  /// Bytes done and in all.
  std::function<void(uint64_t, uint64_t)> progress;
};

/// Reads config.json and the weights of a Hugging Face model folder; weights in the wanted dtype stay mapped.
/// Missing, mis-shaped or truncated tensors: Error(kBadInput) naming tensor and file. Tensors that the
/// architecture does not know are told in `notes`.
std::unique_ptr<CausalLM> load_model(const std::filesystem::path& folder, const LoadOptions& options,
                                     std::vector<std::string>& notes);

/// Fills every weight as transformers' _init_weights does: N(0, initializer_range) for linears and
/// embeddings, one for norms, zero for biases.
void initialise_weights(CausalLM& model, uint64_t seed, DType dtype);

/// A folder with random weights for the config.json at `config_path`, streamed tensor by tensor.
void write_random_model(const std::filesystem::path& config_path, const std::filesystem::path& output,
                        uint64_t seed, DType dtype, const std::function<void(uint64_t, uint64_t)>& progress);

}  // namespace fettle
