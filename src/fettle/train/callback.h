// What the log, the plots, the progress bar and the checkpoints see of a run.
#pragma once
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace fettle {

/// A logging event, with Trainer's meaning of each figure.
struct LogRecord {
  int64_t step = 0, total_steps = 0;
  double epoch = 0;
  double loss = 0;                  ///< mean of the steps' losses since the last event
  std::optional<double> grad_norm;  ///< before clipping; absent when clipping is off
  double learning_rate = 0;         ///< used by this step
  double elapsed_seconds = 0;
  int64_t tokens = 0;                ///< input tokens since the start
  double tokens_per_second = 0;      ///< since the last event
  std::optional<double> loss_scale;  ///< of the next step; fp16 runs
  int64_t skipped_steps = 0;         ///< of the run so far; fp16 runs
};

struct StepInfo {
  int64_t step = 0, total_steps = 0;
  double epoch = 0;
  double loss = 0;
  double learning_rate = 0;
  int64_t tokens = 0;
  double elapsed_seconds = 0;
  int64_t best_step = 0;  ///< of the best evaluation so far; 0: none, or no metric is followed
  double best_metric = 0;
  double loss_scale = 0, last_loss_scale = 0;  ///< of the next step and of this one; 0: no fp16 run
  int64_t skipped_steps = 0;                   ///< steps so far whose gradients were not finite
};

/// One evaluation, with Trainer's figures.
struct EvalRecord {
  int64_t step = 0;
  double epoch = 0;
  double loss = 0;  ///< mean over batches of their token means, weighted by samples
  int64_t samples = 0, batches = 0;
  double runtime_seconds = 0;
  std::string name;                       ///< of the data set; empty when there is one only
  std::map<std::string, double> metrics;  ///< loss, perplexity and what else was asked for
};

struct TrainSummary {
  int64_t steps = 0;
  double epoch = 0;
  double train_loss = 0;  ///< mean over all steps
  double runtime_seconds = 0;
  int64_t samples = 0;  ///< examples seen
  int64_t tokens = 0;
  double total_flos = 0;  ///< 6 * tokens * parameters without embeddings, as Trainer estimates it
  bool stopped = false;   ///< ended on request before the last step
  bool early = false;     ///< ended because evaluations did not improve any more
  int64_t best_step = 0;  ///< as in StepInfo
  double best_metric = 0;
};

/// A step whose loss or gradient was not finite; it was not taken.
struct DivergeRecord {
  int64_t step = 0;
  std::string what;                  ///< "the loss is nan"
  std::vector<int64_t> rows;         ///< of the training data
  std::vector<std::string> origins;  ///< "data.json:12" each
};

class Callback {
 public:
  virtual ~Callback() = default;
  virtual void on_step_end(const StepInfo&) {}
  virtual void on_log(const LogRecord&) {}
  virtual void on_evaluate(const EvalRecord&) {}
  /// The weights are to be saved now.
  virtual void on_save(const StepInfo&) {}
  virtual void on_diverge(const DivergeRecord&) {}
  virtual void on_train_end(const TrainSummary&) {}
};

}  // namespace fettle
