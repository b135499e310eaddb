// Files that a run leaves for people and for other tools: trainer_log.jsonl, trainer_state.json,
// train_results.json.
#pragma once
#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <string>

#include "fettle/base/json.h"

namespace fettle {

/// One line of trainer_log.jsonl, with the keys of LLaMA-Factory's LogCallback.
struct TrainerLogLine {
  int64_t current_steps = 0, total_steps = 0;
  double loss = 0, lr = 0, epoch = 0;
  double elapsed_seconds = 0;
  double throughput = 0;  ///< tokens a second since the start
  int64_t total_tokens = 0;
  // Beside LLaMA-Factory's keys; the last two in fp16 runs.
  std::optional<double> grad_norm, loss_scale;
  int64_t skipped_steps = 0;
};

/// Appends whole lines, so that the file can be followed while the run goes on. A line that cannot be written
/// is left out with a warning (the first time): it is no reason to end a run.
class TrainerLog {
 public:
  /// Keeps the first `keep_bytes` of an earlier log; a shorter one is kept as it is, with a warning.
  explicit TrainerLog(const std::filesystem::path& path, uint64_t keep_bytes = 0);
  ~TrainerLog();
  TrainerLog(const TrainerLog&) = delete;
  TrainerLog& operator=(const TrainerLog&) = delete;
  uint64_t bytes() const { return bytes_; }
  /// What was written so far is on the disk when it returns.
  void sync();
  void write(const TrainerLogLine& line);
  /// {"current_steps", "total_steps", "eval_loss" and other figures, "epoch", "percentage"}.
  void write_evaluation(int64_t step, int64_t total_steps, const std::map<std::string, double>& figures,
                        double epoch);

 private:
  void append(std::string line);
  void complain(const char* why);
  std::filesystem::path path_;
  int fd_ = -1;
  uint64_t bytes_ = 0;
  bool complained_ = false;
};

/// trainer_state.json of transformers.Trainer.
struct TrainerState {
  int64_t global_step = 0, max_steps = 0, num_train_epochs = 0;
  double epoch = 0, total_flos = 0;
  int64_t logging_steps = 500, save_steps = 500, train_batch_size = 0, num_input_tokens_seen = 0;
  Json log_history;              ///< a list of objects
  int64_t best_global_step = 0;  ///< 0: no metric was followed
  double best_metric = 0;
  std::string best_model_checkpoint;
  void write(const std::filesystem::path& path) const;
};

/// <split>_results.json, and the same figures merged into all_results.json.
void write_results(const std::filesystem::path& folder, const std::string& split,
                   const std::map<std::string, double>& metrics);

}  // namespace fettle
