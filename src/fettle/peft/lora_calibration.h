// Starting values of a LoRA that come from the training data: EVA, CorDA, LoRA-GA.
#pragma once
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "fettle/peft/lora.h"

namespace fettle {

/// Some training rows as the model takes them.
struct CalibrationBatch {
  ModelInput input;
  std::vector<int32_t> labels;     ///< [T], shifted: what the loss is taken of
  std::vector<bool> token_learns;  ///< [T], whether the token itself has a label
};

/// The training data, for methods that look at it before they begin.
struct Calibration {
  int64_t rows = 0;
  int64_t batch_size = 1;  ///< rows of a training batch
  DType compute = DType::kF32;
  std::function<CalibrationBatch(int64_t first, int64_t count)> batch;
  std::function<void(int64_t done, int64_t total)> progress;
};

/// Whether init_lora_weights wants a Calibration.
bool needs_calibration(const std::string& init);

/// A and B of one linear, both f32; b undefined: zeros.
struct LoraStart {
  Tensor a, b;
};

/// By the path of the linear. Runs the model without adapters.
///   eva      (Paischer et al., arXiv 2410.07170; peft/tuners/lora/eva.py) A: the leading right singular
///            vectors of the linear's inputs, by incremental PCA over batches until they point the same way
///            twice (tau) or init_samples rows were seen. Ranks go to where they explain most (rho):
///            rank_pattern, alpha_pattern and the targets of `config` are rewritten, linears of rank 0
///            dropped.
///   corda    (Yang et al., arXiv 2406.05223; peft/tuners/lora/corda.py) the first (ipm) or last (kpm)
///            singular triplets of W C, C the covariance of the inputs. The error of C's inverse is judged on
///            at most 64 of its columns.
///   lora_ga  (Wang et al., arXiv 2407.05000; peft/tuners/lora/loraga.py) singular vectors of the gradient
///            of W.
/// eva_config, corda_config, lora_ga_config are PEFT's; corda and lora_ga take the first
/// `init_samples` rows (256).
/// Error(kUsage) for settings that do not fit.
std::map<std::string, LoraStart> calibrated_starts(CausalLM& model, AdapterConfig& config,
                                                   const LoraConfig& lora,
                                                   const std::vector<Linear*>& targets,
                                                   const Calibration& calibration, uint64_t seed);

}  // namespace fettle
