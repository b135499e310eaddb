// What a run would take of memory and disk, said before it starts; what would make it smaller; and whether it
// may start.
#pragma once
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "fettle/base/config/config.h"
#include "fettle/train/memory_plan.h"

namespace fettle {

struct EstimateOptions {
  std::optional<uint64_t> device_memory;  ///< bytes of a GPU to compare with
  bool time = true;                       ///< compute a few passes to tell how long the run takes
};

class RunEstimate {
 public:
  /// `training`: all rows; `run.arguments` decide about the passes.
  RunEstimate(const Config& config, PlannedRun run, Examples training);

  /// per_device_train_batch_size: auto. The most tokens of a pass with which the plan stays within nine
  /// tenths of `bytes`, and never less than the longest row. From now on passes are bounded by it. Without
  /// `bytes`: of the memory that there is.
  int64_t bound_passes_by_memory(std::optional<uint64_t> bytes = std::nullopt);

  /// gradient_checkpointing: auto. Whether a plan with selective checkpointing stays within half of `bytes`;
  /// then it is the plan from now on, else that with whole blocks recomputed.
  bool keeps_blocks_by_memory(std::optional<uint64_t> bytes = std::nullopt);

  const MemoryPlan& memory() const;
  /// "6.71 GB predicted peak: weights …": a row of the plan of a run.
  std::string memory_text() const;
  /// Tables of parts and of changes, a GPU, time and disk on stdout.
  void say(const std::filesystem::path& output, const EstimateOptions& options) const;
  /// Nothing when the plan fits. Else Error(kResources) with the changes that help, or, unless `refuse`, a
  /// warning.
  void check(bool refuse) const;

 private:
  struct Variation {
    std::string options;  ///< as they are typed
    PlannedRun run;
    Examples rows;
    int64_t weights = 0;  ///< bytes that the weights gain
  };
  struct Change {
    std::string options;
    uint64_t total;
  };
  struct Budget {
    uint64_t bytes;    ///< that the predicted peak may come to
    std::string text;  ///< "22.1 GB that are free"
  };
  std::optional<Budget> budget() const;
  std::vector<Variation> variations() const;
  /// Those that lower the peak.
  std::vector<Change> changes() const;
  void say_parts() const;
  void say_device(uint64_t bytes) const;
  void say_time(const std::filesystem::path& output) const;
  /// What a checkpoint and the weights alone take on the disk.
  std::pair<uint64_t, uint64_t> saved_bytes() const;
  bool trains_base() const { return run_.adapter == nullptr; }

  const Config& config_;
  PlannedRun run_;
  Examples training_, rows_;  ///< all, and the largest pass
  mutable std::optional<MemoryPlan> memory_;
};

}  // namespace fettle
