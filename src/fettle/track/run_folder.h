// What the folder of a run says about it, while it goes on and afterwards. Nothing but the folder is needed,
// so runs can be copied from other machines.
#pragma once
#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace fettle {

struct RunPoint {
  int64_t step = 0;
  std::optional<double> loss, learning_rate, grad_norm, eval_loss;
};

struct RunFolder {
  enum class Status { kRunning, kFinished, kInterrupted };
  std::filesystem::path path;
  std::string name;  ///< run_name, else the folder's
  Status status = Status::kInterrupted;
  std::map<std::string, std::string> options;  ///< run_config.yaml, as it is written there
  std::vector<RunPoint> points;                ///< trainer_log.jsonl
  int64_t step = 0, total_steps = 0, tokens = 0;
  double tokens_per_second = 0;
  std::string elapsed;
  std::optional<double> train_loss;  ///< of a finished run, mean over all steps
  std::optional<double> best_metric;
  int64_t best_step = 0;
  std::filesystem::file_time_type changed;

  /// The last logged value.
  std::optional<double> last_loss() const;
  std::optional<double> best_eval_loss() const;
};

const char* status_name(RunFolder::Status status);

/// Whether a folder is that of a run.
bool is_run_folder(const std::filesystem::path& folder);
/// Reads it; damaged lines are passed over. Error(kBadInput) when it is not the folder of a run.
RunFolder read_run_folder(const std::filesystem::path& folder);
/// Asks the system whether a process trains there now, and when the log was last written.
void refresh_status(RunFolder& run);
class RunIndex;
/// All runs below `root` (up to six folders deep), the newest first.
std::vector<RunFolder> find_run_folders(const std::filesystem::path& root, RunIndex& index);

}  // namespace fettle
