// Plain LoRA out of other things: the difference of two models, or an adapter of another method.
#pragma once
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "fettle/peft/lora_folder.h"

namespace fettle {

struct Extraction {
  LoraFolder lora;
  double kept = 1;   ///< of the squared norm of all differences, the share that the factors hold
  double worst = 1;  ///< the lowest share of a module
  std::string worst_module;
  std::vector<std::string>
      left_out;  ///< weights that differ and cannot be part of a LoRA, or were not asked for
};

/// The best rank-r factors of W_tuned - W_base for every linear but the head, or those whose last name is in
/// `targets` (the head and full paths may be named); modules without a difference are left out. Both folders
/// are read module by module. Error(kBadInput) when the architectures or shapes differ, Error(kUsage) when
/// nothing differs.
Extraction extract_lora(const std::filesystem::path& base, const std::filesystem::path& tuned, int64_t rank,
                        const std::vector<std::string>& targets,
                        const std::function<void(int64_t, int64_t)>& progress);

/// An adapter as a LoRA with alpha = r. A LoRA needs no base; its factors are kept as they are, or reduced to
/// `rank` exactly (as the best approximation). For other methods the base is needed, and the change of each
/// weight is decomposed at `rank`, by default 16. Error(kUsage) for what is no change of linear weights.
Extraction convert_to_lora(const std::filesystem::path& adapter, const std::filesystem::path& base,
                           int64_t rank);

}  // namespace fettle
