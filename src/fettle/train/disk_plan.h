// The disk that a run takes, predicted before its first step.
#pragma once
#include <cstdint>
#include <filesystem>
#include <vector>

#include "fettle/models/causal_lm.h"
#include "fettle/train/trainer.h"

namespace fettle {

struct DiskPlan {
  uint64_t result = 0;      ///< the weights and the files beside them
  uint64_t checkpoint = 0;  ///< the same, with what is needed to go on
  /// A file that is copied beside the weights.
  void add_file(const std::filesystem::path& file);
  /// With `limit` checkpoints kept (0: all) and one more while the oldest is not removed yet; `present`
  /// exist.
  uint64_t needed(const TrainArguments& arguments, const TrainPlan& plan, int64_t limit,
                  int64_t present) const;
  /// What the disk of `folder` has: Error(kResources), or a warning, below `least` bytes; a warning below
  /// `all`.
  void check(const std::filesystem::path& folder, uint64_t least, uint64_t all, bool refuse) const;
};

/// `optimizer_state`: its bytes. `base`: the model's folder, when the whole model is saved (as `dtype`) and
/// not an adapter; else empty.
DiskPlan plan_disk(CausalLM& model, const std::filesystem::path& base, DType dtype,
                   const std::vector<Parameter*>& trainable, uint64_t optimizer_state, bool only_model);

}  // namespace fettle
