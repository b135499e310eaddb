// The callbacks of `fettle train`: progress on the terminal, the files of the run, checkpoints.
#pragma once
#include <cmath>
#include <filesystem>
#include <functional>
#include <memory>
#include <vector>

#include "fettle/base/progress.h"
#include "fettle/track/run_files.h"
#include "fettle/track/run_record.h"
#include "fettle/train/trainer.h"

namespace fettle {

class ProgressCallback final : public Callback {
 public:
  /// `skipped_steps`: of the checkpoint that the run goes on from.
  ProgressCallback(int64_t total_steps, int64_t skipped_steps);
  void on_step_end(const StepInfo& info) override;
  void on_evaluate(const EvalRecord& record) override;
  void on_train_end(const TrainSummary& summary) override;

 private:
  Progress progress_;
  int64_t skipped_steps_;
};

/// trainer_log.jsonl as the run goes; trainer_state.json, train_results.json and training_loss.png at the
/// end.
class FilesCallback final : public Callback {
 public:
  /// `history` and `log_bytes`: those of the checkpoint that the run goes on from.
  FilesCallback(std::filesystem::path folder, const TrainArguments& arguments, const TrainPlan& plan,
                bool plot, Json history, uint64_t log_bytes);
  void on_log(const LogRecord& record) override;
  void on_evaluate(const EvalRecord& record) override;
  /// diverged.json: the step and its rows.
  void on_diverge(const DivergeRecord& record) override;
  void on_train_end(const TrainSummary& summary) override;
  /// trainer_state.json as it stands, for a checkpoint.
  void write_state(const std::filesystem::path& folder, const StepInfo& info);
  const std::vector<double>& losses() const { return losses_; }
  const Json& history() const { return history_; }
  uint64_t log_bytes() const { return log_.bytes(); }
  /// The log so far is on the disk when it returns.
  void sync_log() { log_.sync(); }
  /// Why a file for people could not be written; empty when all could. The run goes on without it.
  const std::string& problem() const { return problem_; }

 private:
  void attempt(const std::function<void()>& write);
  void add_best(TrainerState& state, int64_t step, double metric) const;
  std::filesystem::path folder_;
  TrainArguments arguments_;
  TrainPlan plan_;
  bool plot_;
  TrainerLog log_;
  SystemLog system_;
  Json history_;
  std::vector<double> steps_, losses_;
  struct Curve {
    std::vector<double> steps, losses;
  };
  std::map<std::string, Curve> eval_curves_;  // by eval_loss, eval_<set>_loss
  int64_t eval_step_ = -1;
  std::map<std::string, double> eval_results_;  // of all sets at that step
  std::string problem_;
};

/// <split>_results.json: <split>_loss, or <split>_<set>_loss, and the other figures of an evaluation.
void write_metrics(const std::filesystem::path& folder, const std::string& split,
                   const std::vector<EvalRecord>& records);

/// checkpoint-N folders, whole or absent, and `latest`, which names the newest; at most `limit` are kept (0:
/// all), the oldest go first, never before the new one is on the disk and never the best.
class CheckpointCallback final : public Callback {
 public:
  using Save = std::function<void(const std::filesystem::path&)>;
  struct Options {
    int64_t limit = 0;
    uint64_t bytes = 0;            ///< that a checkpoint takes, about
    bool stop_at_failure = false;  ///< else a warning, and the next save is the next try
  };
  /// `save` writes everything of a checkpoint but trainer_state.json and the manifest.
  CheckpointCallback(std::filesystem::path folder, Save save, FilesCallback& files, Options options);
  /// Of a checkpoint that cannot be written nothing remains, and those before it stay. Error(kResources) with
  /// stop_at_failure.
  void on_save(const StepInfo& info) override;
  /// Why the last save failed; empty when it did not.
  const std::string& problem() const { return problem_; }

 private:
  void write(const StepInfo& info);
  void rotate(int64_t newest, int64_t best);
  std::filesystem::path folder_;
  Save save_;
  FilesCallback& files_;
  Options options_;
  std::string problem_;
};

}  // namespace fettle
