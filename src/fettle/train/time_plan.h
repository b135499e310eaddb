// The time of a run, from a few passes that are really computed before it starts.
#pragma once
#include <cstdint>
#include <filesystem>
#include <map>

#include "fettle/train/memory_plan.h"

namespace fettle {

struct TimePlan {
  double training = 0;    ///< seconds of all passes and updates
  double evaluation = 0;  ///< of all evaluations, without written answers
  double saving = 0;      ///< of all checkpoints and the result
  int64_t evaluations = 0, saves = 0;
  int64_t tokens = 0;                      ///< of all passes of the run
  std::map<int64_t, double> pass_seconds;  ///< what was measured: tokens of a pass, seconds
  double update_seconds = 0;
  double total() const { return training + evaluation + saving; }
};

/// Seconds of a pass of `tokens` by those that were measured: straight lines between them and beyond.
double pass_seconds(const std::map<int64_t, double>& measured, int64_t tokens);

/// Computes forward and backward of a short pass, of one in the middle and of the largest, cut so that all
/// take some ten seconds; one update with a learning rate of 0; one forward pass of an evaluation; and writes
/// a file of at most 64 MB beside `output` that is gone at once. Weights stay as they are and no folder is
/// made. The run has to fit into memory. `checkpoint_bytes`, `result_bytes`: what each save writes.
TimePlan plan_time(const PlannedRun& run, const Examples& training, const std::filesystem::path& output,
                   uint64_t checkpoint_bytes, uint64_t result_bytes);

}  // namespace fettle
