#include "fettle/train/train_options.h"

#include <algorithm>

#include "fettle/base/error.h"

namespace fettle {
namespace {

using Text = std::optional<std::string>;

// The figure that best checkpoints and early stopping go by, where one is asked for.
void follow_metric(const Config& c, TrainArguments& a) {
  using When = TrainArguments::When;
  const bool wanted = a.load_best_model_at_end || a.early_stopping_steps > 0 ||
                      a.save_strategy == When::kBest || c.is_set("metric_for_best_model");
  if (!wanted) return;
  if (a.eval_strategy == When::kNo)
    fail_usage(
        "load_best_model_at_end, early_stopping_steps, metric_for_best_model and save_strategy: best need "
        "eval_strategy: steps or epoch");
  std::string metric = c.get<Text>("metric_for_best_model").value_or("loss");
  if (metric.starts_with("eval_")) metric.erase(0, 5);
  const bool lower = metric.ends_with("loss") || metric.ends_with("perplexity");
  a.greater_is_better = c.get<std::optional<bool>>("greater_is_better").value_or(!lower);
  if (lower && a.greater_is_better) fail_usage("greater_is_better: {} is better when it is lower", metric);
  if (a.load_best_model_at_end && a.save_strategy == When::kNo)
    fail_usage("load_best_model_at_end needs checkpoints: set save_strategy to steps, epoch or best");
  a.metric_for_best_model = metric;
}

RowOrder row_order(const Config& c) {
  const std::string strategy = c.get<std::string>("train_sampling_strategy");
  if (c.get<bool>("disable_shuffling") || strategy == "sequential") return RowOrder::kFile;
  return c.get<bool>("group_by_length") || strategy == "group_by_length" ? RowOrder::kByLength
                                                                         : RowOrder::kShuffled;
}

}  // namespace

int64_t batch_rows(const Config& c) {
  const int64_t rows = c.get<int64_t>("per_device_train_batch_size");
  return rows > 0 ? rows : 8;
}

TrainArguments train_arguments(const Config& c, DType compute) {
  TrainArguments a;
  a.per_device_train_batch_size = batch_rows(c);
  a.batch_tokens_by_memory =
      c.get<int64_t>("per_device_train_batch_size") == 0 || c.get<bool>("auto_find_batch_size");
  a.gradient_accumulation_steps = c.get<int64_t>("gradient_accumulation_steps");
  a.num_train_epochs = c.get<double>("num_train_epochs");
  a.max_steps = c.get<int64_t>("max_steps");
  a.stop_at_step = c.get<std::optional<int64_t>>("stop_at_step").value_or(0);
  a.learning_rate = c.get<double>("learning_rate");
  a.lr_scheduler_type = c.get<std::string>("lr_scheduler_type");
  Json options = c.object("lr_scheduler_kwargs");
  if (!options.is_null()) a.lr_scheduler_kwargs = std::make_shared<Json>(options);
  a.max_grad_norm = c.get<double>("max_grad_norm");
  a.seed = static_cast<uint64_t>(c.get<int64_t>("seed"));
  a.data_seed =
      static_cast<uint64_t>(c.get<std::optional<int64_t>>("data_seed").value_or(c.get<int64_t>("seed")));
  a.order = row_order(c);
  a.dataloader_drop_last = c.get<bool>("dataloader_drop_last");
  a.per_device_train_batch_tokens =
      c.get<std::optional<int64_t>>("per_device_train_batch_tokens").value_or(0);
  if (a.batch_tokens_by_memory && a.per_device_train_batch_tokens > 0)
    fail_usage(
        "per_device_train_batch_tokens and an automatic batch contradict each other; drop one of them");
  a.loss = {.label_smoothing = static_cast<float>(c.get<double>("label_smoothing_factor")),
            .dft = c.get<bool>("use_dft_loss")};
  if (a.loss.dft && a.loss.label_smoothing > 0)
    fail_usage("use_dft_loss and label_smoothing_factor contradict each other; drop one of them");
  const std::string recomputed = c.get<std::string>("gradient_checkpointing");
  a.checkpointing_by_memory = recomputed == "auto";
  a.gradient_checkpointing = recomputed == "true" || a.checkpointing_by_memory;
  a.selective_checkpointing = recomputed == "selective";
  a.compute = compute;
  if (compute == DType::kF16)
    a.loss_scaler = LossScaler{.initial = c.get<double>("loss_scale_init"),
                               .growth_interval = c.get<int64_t>("loss_scale_window")};
  a.logging_first_step = c.get<bool>("logging_first_step");
  std::string save = c.get<std::string>("save_strategy");
  auto when = [](const std::string& name) {
    using When = TrainArguments::When;
    return name == "no"      ? When::kNo
           : name == "epoch" ? When::kEpoch
           : name == "best"  ? When::kBest
                             : When::kSteps;
  };
  a.save_strategy = when(save);
  a.eval_strategy = when(c.get<std::string>("eval_strategy"));
  a.eval_delay = c.get<double>("eval_delay");
  a.eval_on_start = c.get<bool>("eval_on_start");
  a.load_best_model_at_end = c.get<bool>("load_best_model_at_end");
  a.early_stopping_steps = c.get<std::optional<int64_t>>("early_stopping_steps").value_or(0);
  a.do_eval = c.get<bool>("do_eval");
  follow_metric(c, a);
  if (a.lr_scheduler_type == "reduce_lr_on_plateau") {
    if (a.eval_strategy == TrainArguments::When::kNo)
      fail_usage("lr_scheduler_type reduce_lr_on_plateau needs eval_strategy: steps or epoch");
    if (c.get<double>("warmup_ratio") > 0 || c.is_set("warmup_steps"))
      fail_usage(
          "lr_scheduler_type reduce_lr_on_plateau: has no warm-up; drop warmup_ratio and warmup_steps");
    a.plateau = make_plateau_rule(a.lr_scheduler_kwargs.get());
    a.lr_scheduler_type = "constant";
    a.lr_scheduler_kwargs = nullptr;
  }
  a.neftune_noise_alpha = c.get<std::optional<double>>("neftune_noise_alpha").value_or(0);
  return a;
}

// Options that count steps, and fractions of all steps, need the plan first.
void resolve_steps(const Config& c, TrainArguments& a, int64_t examples) {
  int64_t total = plan_training(a, examples).total_steps;
  a.warmup_steps = c.steps("warmup_steps", total);
  a.warmup_ratio = c.get<double>("warmup_ratio");
  a.logging_steps = std::max<int64_t>(1, c.steps("logging_steps", total));
  a.save_steps = std::max<int64_t>(1, c.steps("save_steps", total));
  a.eval_steps =
      c.is_set("eval_steps") ? std::max<int64_t>(1, c.steps("eval_steps", total)) : a.logging_steps;
}

void check_metric(const TrainArguments& arguments, const Evaluator& evaluator) {
  const std::string& metric = arguments.metric_for_best_model;
  if (metric.empty()) return;
  std::vector<std::string> known = evaluator.metric_names();
  // With several sets a metric alone is that of the first.
  if (std::find(known.begin(), known.end(), metric) != known.end()) return;
  for (const std::string& name : known)
    if (name.ends_with("_" + metric)) return;
  fail_usage("metric_for_best_model: \"{}\" is not measured; known: {}", printable(metric),
             fmt::join(known, ", "));
}

}  // namespace fettle
