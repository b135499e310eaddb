// Several LoRA adapters into one, as PEFT's add_weighted_adapter (peft/tuners/lora/model.py,
// utils/merge_utils.py).
#pragma once
#include <string>
#include <vector>

#include "fettle/peft/lora_folder.h"

namespace fettle {

/// What is done with the factors or, with "…_svd" and svd, with the weight differences:
///   linear           sum of w_i x_i
///   cat              factors side by side: exact, the rank is the sum of the ranks
///   ties             trim to the largest, elect a sign, mean of those that agree (Yadav et al., arXiv
///   2306.01708) dare_linear, dare_ties   drop at random and rescale (Yu et al., arXiv 2311.03099), then
///   linear or ties magnitude_prune  trim to the largest, then linear
struct CombineOptions {
  std::string method = "svd";
  std::vector<double> weights;  ///< one an adapter
  int64_t svd_rank = 0;         ///< 0: the largest rank of the adapters
  double density = 0.5;         ///< share of values that trimming keeps
  bool by_frequency = false;    ///< majority_sign_method: count signs instead of adding values
  uint64_t seed = 42;           ///< of the random drops
};

/// Names of the methods, for help and messages.
const std::vector<std::string>& combine_methods();

/// Modules that only some adapters have take part with those. Factors are weighted with the square root of
/// |weight * scale| each, with the sign on a, as PEFT does since 0.17; the result has alpha = r. Where PEFT
/// copies use_rslora from the first adapter, and so scales the result a second time by sqrt(r), it is
/// switched off here. Error(kUsage) when ranks differ for a method on factors, or shapes of a module differ.
LoraFolder combine_adapters(const std::vector<LoraFolder>& adapters, const CombineOptions& options);

}  // namespace fettle
