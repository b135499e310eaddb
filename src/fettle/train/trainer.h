// The training loop, with the arithmetic of transformers.Trainer: token-weighted loss over each accumulated
// batch, clipping by the global norm, schedules by optimizer step, epochs whose last batch may be short.
#pragma once
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "fettle/data/batch.h"
#include "fettle/data/packing.h"
#include "fettle/kernels/communicator.h"
#include "fettle/kernels/profile.h"
#include "fettle/models/causal_lm.h"
#include "fettle/peft/adapter.h"
#include "fettle/train/callback.h"
#include "fettle/train/evaluation.h"
#include "fettle/train/loss_scaler.h"
#include "fettle/train/optimizers/optimizer.h"
#include "fettle/train/sampler.h"
#include "fettle/train/schedule.h"

namespace fettle {

struct TrainArguments {
  int64_t per_device_train_batch_size = 8;
  int64_t gradient_accumulation_steps = 1;
  double num_train_epochs = 3;
  int64_t max_steps = -1;    ///< > 0 overrides the epochs
  int64_t stop_at_step = 0;  ///< > 0: stop there as on request
  double learning_rate = 5e-5;
  std::string lr_scheduler_type = "linear";
  std::shared_ptr<const Json> lr_scheduler_kwargs;
  int64_t warmup_steps = 0;
  double warmup_ratio = 0;
  OptimizerOptions optimizer;
  double max_grad_norm = 1.0;  ///< 0: no clipping
  double neftune_noise_alpha = 0;
  uint64_t seed = 42;       ///< of dropout
  uint64_t data_seed = 42;  ///< of the order of the rows
  RowOrder order = RowOrder::kShuffled;
  bool dataloader_drop_last = false;
  /// A step's rows are cut into passes of at most so many tokens as well; 0: by rows alone. The loss is the
  /// same.
  int64_t per_device_train_batch_tokens = 0;
  bool batch_tokens_by_memory = false;  ///< that bound is what fits
  LossShape loss;
  bool gradient_checkpointing = true;
  bool selective_checkpointing = false;  ///< Context::remakes
  bool checkpointing_by_memory = false;  ///< the second instead of the first where memory is ample
  DType compute = DType::kF32;
  std::optional<LossScaler> loss_scaler;  ///< of fp16 runs
  int64_t logging_steps = 500;
  bool logging_first_step = false;
  enum class When { kNo, kSteps, kEpoch, kBest };
  When eval_strategy = When::kNo;
  int64_t eval_steps = 500;
  double eval_delay = 0;  ///< no evaluation before so many steps, or epochs when it goes by epochs
  bool eval_on_start = false;
  bool do_eval = false;  ///< evaluate after the last step even when eval_strategy is kNo
  /// A metric of the evaluation, as Evaluator::metric_names(); empty: none is followed.
  std::string metric_for_best_model;
  bool greater_is_better = false;
  std::optional<PlateauRule> plateau;   ///< of lr_scheduler_type reduce_lr_on_plateau
  bool load_best_model_at_end = false;  ///< an evaluation that is the best so far is always saved
  int64_t early_stopping_steps = 0;     ///< evaluations without a gain that end the run; 0: never
  When save_strategy = When::kSteps;
  int64_t save_steps = 500;
};

/// Step counts that follow from the arguments and the number of examples (spec of Trainer's
/// set_initial_training_values).
struct TrainPlan {
  int64_t examples = 0;  ///< of one epoch
  int64_t micro_batches_per_epoch = 0;
  int64_t updates_per_epoch = 0;
  int64_t total_steps = 0;
  int64_t epochs = 0;  ///< epochs started; the last may be cut
  int64_t warmup_steps = 0;
};
TrainPlan plan_training(const TrainArguments& arguments, int64_t examples);

/// Where a run stands between two steps: all that the loop itself remembers.
struct TrainerProgress {
  int64_t step = 0, micro_step = 0, tokens = 0, samples = 0;
  double total_loss = 0;
  double window_loss = 0;  ///< since the last logging event
  int64_t window_steps = 0, window_tokens = 0;
  double elapsed_seconds = 0;
  int64_t best_step = 0;  ///< of the best evaluation; 0: none yet
  double best_metric = 0;
  int64_t evaluations_without_gain = 0;
  PlateauState plateau;
  LossScaleState loss_scale;
  double loss_mean = 0, loss_variance = 0;  ///< running, of the steps so far; to know a spike by
  int64_t batch_tokens = 0;                 ///< the bound of passes that the memory gave when the run began
};

class Trainer {
 public:
  /// `optimizer`: over everything trainable, f32. Callbacks are called in the order given and outlive the
  /// trainer.
  Trainer(CausalLM& model, Backend& backend, Communicator& communicator, Optimizer& optimizer,
          const Examples& examples, TrainArguments arguments, std::vector<Callback*> callbacks);
  /// Runs to the end or until StopSignal asks to stop. Loss or gradients that are not finite end the run
  /// before the optimizer step with Error(kDiverged) naming step and rows; the weights are those before the
  /// step, and on_save() is called for them unless save_strategy is no. With a loss scaler such a step is
  /// skipped, as often as the scaler allows: it counts as a step, but neither the weights nor the schedule
  /// move.
  TrainSummary run();
  /// The adapter that is trained: gives its penalty to the loss and hears of every step. It outlives the
  /// trainer.
  void set_adapter(Adapter* adapter) { adapter_ = adapter; }
  /// For eval_strategy; outlives the trainer.
  void set_evaluation(const Evaluator* evaluator) { evaluator_ = evaluator; }
  /// Notes the phases of every step; outlives the trainer.
  void set_profile(Profile* profile) { profile_ = profile; }
  /// Forward and backward of a step on these rows, for a MemoryRehearsal: with a backend that computes
  /// nothing it shows what a step takes.
  void rehearse(std::span<const int64_t> rows) { accumulate_step(rows); }
  const TrainPlan& plan() const { return plan_; }
  const TrainerProgress& progress() const { return progress_; }
  /// Goes on from there at run(); weights and optimizer are restored by their owner.
  void set_progress(const TrainerProgress& progress) { progress_ = progress; }

 private:
  static double figure(const std::vector<EvalRecord>& records, const std::string& metric);
  void lower_rate_on_plateau(const std::vector<EvalRecord>& records);
  /// Evaluates, tells the callbacks, and whether it was the best so far.
  bool evaluate_now(const StepInfo& info);
  double epoch_after(int64_t step) const;
  double accumulate_step(std::span<const int64_t> rows);
  struct Divergence {
    std::string what, advice;
  };
  /// Whether the weights may be updated; tells the loss scaler. `end` says why the run has to end, if it has.
  bool accept_step(double loss, double norm, std::optional<Divergence>& end);
  [[noreturn]] void stop_diverged(const Divergence& why, std::span<const int64_t> rows, const StepInfo& info,
                                  bool save);
  /// Warns when the loss lies far above those before it.
  void watch_for_spike(double loss, std::span<const int64_t> rows);
  std::vector<std::string> origins(std::span<const int64_t> rows) const;
  CausalLM& model_;
  Backend& backend_;
  Communicator& communicator_;
  Examples examples_;
  const Evaluator* evaluator_ = nullptr;
  Profile* profile_ = nullptr;
  TrainArguments arguments_;
  TrainPlan plan_;
  std::vector<Callback*> callbacks_;
  Optimizer& optimizer_;
  Schedule schedule_;
  bool head_trainable_;
  Adapter* adapter_ = nullptr;
  TrainerProgress progress_;
};

}  // namespace fettle
