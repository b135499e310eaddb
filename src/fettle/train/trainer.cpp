#include "fettle/train/trainer.h"

#include <chrono>
#include <cmath>

#include "fettle/base/error.h"
#include "fettle/base/failpoint.h"
#include "fettle/base/terminal.h"
#include "fettle/data/packing.h"
#include "fettle/train/model_batch.h"
#include "fettle/train/sampler.h"
#include "fettle/train/stop_signal.h"

namespace fettle {
namespace {

ScheduleSpec schedule_spec(const TrainArguments& a, const TrainPlan& plan) {
  return {.type = a.lr_scheduler_type,
          .learning_rate = a.learning_rate,
          .warmup_steps = plan.warmup_steps,
          .total_steps = plan.total_steps,
          .options = a.lr_scheduler_kwargs};
}

double total_flos(const CausalLM& model, int64_t tokens) {
  int64_t parameters = 0;
  for (const Parameter* parameter : const_cast<CausalLM&>(model).parameters())
    if (!parameter->name.ends_with("embed_tokens.weight") && !parameter->name.ends_with(".wte.weight") &&
        !parameter->name.ends_with(".wpe.weight"))
      parameters += parameter->numel();
  return 6.0 * static_cast<double>(tokens) * static_cast<double>(parameters);
}

}  // namespace

TrainPlan plan_training(const TrainArguments& a, int64_t examples) {
  TrainPlan plan;
  plan.examples = examples;
  if (a.dataloader_drop_last) {
    plan.examples -= examples % a.per_device_train_batch_size;
    if (plan.examples == 0)
      fail_usage("dataloader_drop_last: the {} rows do not fill one batch of {}", examples,
                 a.per_device_train_batch_size);
  }
  plan.micro_batches_per_epoch =
      (plan.examples + a.per_device_train_batch_size - 1) / a.per_device_train_batch_size;
  int64_t accumulation = a.gradient_accumulation_steps;
  plan.updates_per_epoch =
      std::max<int64_t>(1, (plan.micro_batches_per_epoch + accumulation - 1) / accumulation);
  double updates = static_cast<double>(plan.updates_per_epoch);
  plan.total_steps =
      a.max_steps > 0 ? a.max_steps : static_cast<int64_t>(std::ceil(a.num_train_epochs * updates));
  plan.epochs = (plan.total_steps + plan.updates_per_epoch - 1) / plan.updates_per_epoch;
  plan.warmup_steps = warmup_steps(a.warmup_steps, a.warmup_ratio, plan.total_steps);
  return plan;
}

Trainer::Trainer(CausalLM& model, Backend& backend, Communicator& communicator, Optimizer& optimizer,
                 const Examples& examples, TrainArguments arguments, std::vector<Callback*> callbacks)
    : model_(model),
      backend_(backend),
      communicator_(communicator),
      examples_(examples),
      arguments_(std::move(arguments)),
      plan_(plan_training(arguments_, static_cast<int64_t>(examples.size()))),
      callbacks_(std::move(callbacks)),
      optimizer_(optimizer),
      schedule_(make_schedule(schedule_spec(arguments_, plan_))),
      head_trainable_(model.head_trainable()) {}

// Forward and backward of one accumulated batch; returns its loss, the mean over all its label tokens.
double Trainer::accumulate_step(std::span<const int64_t> rows) {
  std::vector<PackedBatch> batches;
  int64_t labels = 0;
  for (std::span<const int64_t> pass : cut_passes(examples_, rows, arguments_.per_device_train_batch_size,
                                                  arguments_.per_device_train_batch_tokens)) {
    batches.push_back(pack_for(model_, examples_, pass));
    labels += batches.back().label_tokens();
  }
  optimizer_.zero_grad();
  double loss = 0;
  const double loss_scale = arguments_.loss_scaler ? progress_.loss_scale.scale : 1.0;
  for (PackedBatch& batch : batches) {
    progress_.tokens += static_cast<int64_t>(batch.ids.size());
    Tape tape;
    Context context{.backend = &backend_,
                    .tape = &tape,
                    .compute = arguments_.compute,
                    .training = true,
                    .remakes = arguments_.selective_checkpointing,
                    .seed = arguments_.seed,
                    .step = static_cast<uint64_t>(progress_.micro_step++),
                    .neftune_alpha = static_cast<float>(arguments_.neftune_noise_alpha)};
    // A batch without a label adds nothing; its mask is kept out of 0/0 by leaving it out.
    if (batch.label_tokens() == 0) continue;
    ModelInput input = model_input(model_, batch);
    input.gradient_checkpointing = arguments_.gradient_checkpointing;
    Var hidden;
    {
      Profile::Phase phase(profile_, "forward");
      hidden = model_.hidden_states(context, input);
    }
    auto head = [this](Context& c, const Var& h) { return model_.logits(c, h); };
    const float scale = static_cast<float>(loss_scale / static_cast<double>(labels));
    std::optional<Profile::Phase> phase(std::in_place, profile_, "head and loss");
    loss += linear_cross_entropy(context, hidden, head, model_.config().vocab_size, batch.labels, scale,
                                 head_trainable_, arguments_.loss);
    hidden = Var();
    phase.emplace(profile_, "backward");
    tape.backward();
  }
  for (Parameter* parameter : optimizer_.parameters()) {
    communicator_.all_reduce_sum(parameter->gradient);
    if (loss_scale != 1.0) backend_.scale(parameter->gradient, 1.0 / loss_scale);
  }
  double penalty = adapter_ ? adapter_->add_penalty(backend_) : 0.0;
  return (labels > 0 ? loss / static_cast<double>(labels) : 0.0) + penalty;
}

bool Trainer::evaluate_now(const StepInfo& info) {
  if (!evaluator_) return false;
  optimizer_.show_average(true);
  // Tensors of an evaluation have other sizes than those of a step: neither is kept for the other.
  HostMemory::instance().trim();
  std::vector<EvalRecord> records = evaluator_->run(info.step, info.epoch);
  HostMemory::instance().trim();
  optimizer_.show_average(false);
  for (const EvalRecord& record : records)
    for (Callback* callback : callbacks_) callback->on_evaluate(record);
  if (info.step == 0) return false;
  lower_rate_on_plateau(records);
  if (arguments_.metric_for_best_model.empty()) return false;
  TrainerProgress& p = progress_;
  const double metric = figure(records, arguments_.metric_for_best_model);
  const bool improved =
      p.best_step == 0 || (arguments_.greater_is_better ? metric > p.best_metric : metric < p.best_metric);
  p.evaluations_without_gain = improved ? 0 : p.evaluations_without_gain + 1;
  if (improved) {
    p.best_step = info.step;
    p.best_metric = metric;
  }
  return improved;
}

double Trainer::figure(const std::vector<EvalRecord>& records, const std::string& metric) {
  for (const EvalRecord& record : records)
    for (const auto& [name, value] : record.metrics)
      if ((record.name.empty() ? name : record.name + "_" + name) == metric) return value;
  // With several sets "loss" alone is that of the first.
  auto found =
      records.empty() ? std::map<std::string, double>::const_iterator() : records[0].metrics.find(metric);
  if (records.empty() || found == records[0].metrics.end()) fail_usage("{}: was not measured", metric);
  return found->second;
}

void Trainer::lower_rate_on_plateau(const std::vector<EvalRecord>& records) {
  if (!arguments_.plateau) return;
  const PlateauRule& rule = *arguments_.plateau;
  const std::string& metric = arguments_.metric_for_best_model;
  rule.see(figure(records, metric.empty() ? "loss" : metric), progress_.plateau);
}

bool Trainer::accept_step(double loss, double norm, std::optional<Divergence>& end) {
  const bool finite = std::isfinite(loss) && std::isfinite(norm);
  if (!arguments_.loss_scaler) {
    std::string bad;
    if (!finite)
      end = {!std::isfinite(loss)                ? fmt::format("the loss is {}", loss)
             : optimizer_.gradients_finite(&bad) ? fmt::format("the gradient norm is {}", norm)
                                                 : fmt::format("the gradient of {} is not finite", bad),
             fmt::format("Lower learning_rate (now {}), set max_grad_norm, or look at the rows",
                         arguments_.learning_rate)};
    return finite;
  }
  LossScaleState& state = progress_.loss_scale;
  const LossScaleState before = state;
  arguments_.loss_scaler->see(finite, state);
  if (finite || !arguments_.loss_scaler->exhausted(state)) return finite;
  // The loss itself does not depend on the scale.
  if (!std::isfinite(loss))
    end = {fmt::format("the loss is {}, whatever the loss scale ({} steps skipped in a row)", loss,
                       state.skipped_in_a_row),
           "An activation exceeds the 65504 of float16, as in models made for bf16: set bf16: true"};
  else
    end = {
        fmt::format("gradients are not finite though the loss scale fell to {:g} ({} steps skipped in a row)",
                    state.scale, state.skipped_in_a_row),
        fmt::format("Set bf16: true, which needs no loss scale, or lower learning_rate (now {})",
                    arguments_.learning_rate)};
  state = before;  // what is saved now stands before this step
  return false;
}

std::vector<std::string> Trainer::origins(std::span<const int64_t> rows) const {
  std::vector<std::string> names;
  for (int64_t row : rows) names.push_back(examples_.origin(static_cast<size_t>(row)));
  return names;
}

void Trainer::stop_diverged(const Divergence& why, std::span<const int64_t> rows, const StepInfo& info,
                            bool save) {
  DivergeRecord record{.step = progress_.step + 1,
                       .what = why.what,
                       .rows = {rows.begin(), rows.end()},
                       .origins = origins(rows)};
  for (Callback* callback : callbacks_) callback->on_diverge(record);
  if (save)
    for (Callback* callback : callbacks_) callback->on_save(info);
  constexpr size_t kShown = 8;
  const bool more = record.origins.size() > kShown;
  record.origins.resize(std::min(record.origins.size(), kShown));
  throw Error(
      ExitCode::kDiverged,
      fmt::format("training diverged at step {}: {}; its rows are {}{}; the step was not taken and the "
                  "weights are those before it. {}",
                  record.step, why.what, fmt::join(record.origins, ", "), more ? ", …" : "", why.advice));
}

// A running mean and variance with a memory of some 50 steps; six deviations above the mean are a spike.
void Trainer::watch_for_spike(double loss, std::span<const int64_t> rows) {
  constexpr double kShare = 0.02, kDeviations = 6;
  constexpr int64_t kFirst = 20;
  TrainerProgress& p = progress_;
  const double distance = loss - p.loss_mean, deviation = std::sqrt(p.loss_variance);
  // Losses that hardly vary are no measure of what is far.
  if (p.step > kFirst && distance > kDeviations * std::max(deviation, 0.02 * p.loss_mean)) {
    std::vector<std::string> names = origins(rows.first(std::min<size_t>(rows.size(), 4)));
    warn("step {}: the loss of {:.4f} lies far above the {:.4f} of the steps before; rows {}{}", p.step, loss,
         p.loss_mean, fmt::join(names, ", "), rows.size() > 4 ? ", …" : "");
  }
  const double share = std::max(kShare, 1.0 / static_cast<double>(p.step));
  p.loss_mean += share * distance;
  p.loss_variance = (1 - share) * (p.loss_variance + share * distance * distance);
}

// Epochs done after so many steps, counted in micro-batches as Trainer does.
double Trainer::epoch_after(int64_t step) const {
  if (step == 0) return 0;
  int64_t epoch = (step - 1) / plan_.updates_per_epoch, update = (step - 1) % plan_.updates_per_epoch;
  int64_t micro_done =
      std::min((update + 1) * arguments_.gradient_accumulation_steps, plan_.micro_batches_per_epoch);
  return static_cast<double>(epoch) +
         static_cast<double>(micro_done) / static_cast<double>(plan_.micro_batches_per_epoch);
}

TrainSummary Trainer::run() {
  using Clock = std::chrono::steady_clock;
  Clock::time_point start = Clock::now();
  TrainerProgress& p = progress_;
  if (adapter_) adapter_->begin_training(plan_.total_steps);
  const double before = p.elapsed_seconds;  // of the runs that this one goes on from
  auto elapsed = [&] { return before + std::chrono::duration<double>(Clock::now() - start).count(); };
  double window_start = before;
  TrainSummary summary;
  int64_t rows_per_step = arguments_.per_device_train_batch_size * arguments_.gradient_accumulation_steps;
  StepInfo info{.step = p.step, .total_steps = plan_.total_steps, .epoch = epoch_after(p.step)};
  int64_t last_saved = p.step;
  info.best_step = p.best_step;
  info.best_metric = p.best_metric;
  if (arguments_.plateau && p.step == 0) p.plateau.rate = arguments_.learning_rate;
  if (arguments_.loss_scaler && p.loss_scale.scale == 0) p.loss_scale.scale = arguments_.loss_scaler->initial;
  if (arguments_.eval_on_start && p.step == 0) evaluate_now(info);
  const int64_t first_epoch = p.step / plan_.updates_per_epoch;

  for (int64_t epoch = first_epoch;
       epoch < plan_.epochs && p.step < plan_.total_steps && !summary.stopped && !summary.early; ++epoch) {
    const std::vector<int64_t> order = epoch_order(examples_, arguments_.order, rows_per_step,
                                                   arguments_.data_seed, static_cast<uint64_t>(epoch));
    for (int64_t update = p.step % plan_.updates_per_epoch;
         update < plan_.updates_per_epoch && p.step < plan_.total_steps; ++update) {
      int64_t begin = update * rows_per_step, end = std::min(begin + rows_per_step, plan_.examples);
      std::span<const int64_t> rows(order.data() + begin, static_cast<size_t>(end - begin));
      const TrainerProgress before_step = p;
      double loss = accumulate_step(rows);
      std::optional<Profile::Phase> phase(std::in_place, profile_, "optimizer");
      double norm = optimizer_.gradient_norm();
      const double scale_used = p.loss_scale.scale;
      const int64_t skipped_before = p.loss_scale.skipped;
      std::optional<Divergence> end_of_run;
      const bool updates = accept_step(loss, norm, end_of_run);
      if (end_of_run) {
        p = before_step;
        const bool save = arguments_.save_strategy != TrainArguments::When::kNo && p.step > 0;
        stop_diverged(*end_of_run, rows, info, save && last_saved != p.step);
      }
      double clip =
          arguments_.max_grad_norm > 0 ? std::min(1.0, arguments_.max_grad_norm / (norm + 1e-6)) : 1.0;
      double rate = arguments_.learning_rate * schedule_(p.step - skipped_before);
      if (arguments_.plateau) rate = p.plateau.rate;
      if (updates) optimizer_.step(rate, clip);
      phase.reset();
      ++p.step;
      if (adapter_) adapter_->after_step(p.step, updates);
      failpoint("step");
      if (updates) watch_for_spike(loss, rows);
      p.samples += end - begin;
      // A loss that is not finite counts as the mean of the others (Trainer's logging_nan_inf_filter).
      if (std::isfinite(loss)) {
        p.window_loss += loss;
        ++p.window_steps;
      }
      p.total_loss += std::isfinite(loss) ? loss
                      : p.step > 1        ? p.total_loss / static_cast<double>(p.step - 1)
                                          : 0.0;

      bool last = p.step == plan_.total_steps, epoch_ends = update + 1 == plan_.updates_per_epoch;
      info.step = p.step;
      info.epoch = epoch_after(p.step);
      info.loss = loss;
      info.learning_rate = rate;
      info.tokens = p.tokens;
      info.elapsed_seconds = p.elapsed_seconds = elapsed();
      if (arguments_.loss_scaler) {
        info.loss_scale = p.loss_scale.scale;
        info.last_loss_scale = scale_used;
        info.skipped_steps = p.loss_scale.skipped;
      }
      for (Callback* callback : callbacks_) callback->on_step_end(info);
      if ((p.step % arguments_.logging_steps == 0 || (arguments_.logging_first_step && p.step == 1)) &&
          p.window_steps > 0) {
        double seconds = info.elapsed_seconds - window_start;
        LogRecord record{
            .step = p.step,
            .total_steps = plan_.total_steps,
            .epoch = info.epoch,
            .loss = p.window_loss / static_cast<double>(p.window_steps),
            .grad_norm = std::nullopt,
            .learning_rate = rate,
            .elapsed_seconds = info.elapsed_seconds,
            .tokens = p.tokens,
            .tokens_per_second = static_cast<double>(p.tokens - p.window_tokens) / std::max(seconds, 1e-9)};
        if (arguments_.max_grad_norm > 0 && std::isfinite(norm)) record.grad_norm = norm;
        if (arguments_.loss_scaler) {
          record.loss_scale = p.loss_scale.scale;
          record.skipped_steps = p.loss_scale.skipped;
        }
        for (Callback* callback : callbacks_) callback->on_log(record);
        p.window_loss = 0;
        p.window_steps = 0;
        p.window_tokens = p.tokens;
        window_start = info.elapsed_seconds;
      }
      using When = TrainArguments::When;
      bool evaluates = (arguments_.eval_strategy == When::kSteps && p.step % arguments_.eval_steps == 0 &&
                        static_cast<double>(p.step) >= arguments_.eval_delay) ||
                       (arguments_.eval_strategy == When::kEpoch && (epoch_ends || last) &&
                        info.epoch >= arguments_.eval_delay);
      bool improved = false;
      // The last evaluation also stands in eval_results.json.
      if (evaluates || ((last || p.step == arguments_.stop_at_step) &&
                        (arguments_.eval_strategy != When::kNo || arguments_.do_eval))) {
        improved = evaluate_now(info);
        info.best_step = p.best_step;
        info.best_metric = p.best_metric;
      }
      summary.early = arguments_.early_stopping_steps > 0 &&
                      p.evaluations_without_gain >= arguments_.early_stopping_steps && !last;
      const bool stops = p.step == arguments_.stop_at_step && !last;
      summary.stopped = (StopSignal::requested() || stops) && !last;
      bool save =
          (arguments_.save_strategy == When::kSteps && (p.step % arguments_.save_steps == 0 || last)) ||
          (arguments_.save_strategy == When::kEpoch && (epoch_ends || last)) || summary.stopped ||
          (improved && (arguments_.save_strategy == When::kBest || arguments_.load_best_model_at_end)) ||
          (summary.early && arguments_.save_strategy != When::kNo &&
           arguments_.save_strategy != When::kBest) ||
          StopSignal::take_save_request();
      if (save && last_saved != p.step) {
        for (Callback* callback : callbacks_) callback->on_save(info);
        last_saved = p.step;
      }
      if (summary.stopped || summary.early) break;
    }
  }
  summary.steps = p.step;
  summary.best_step = p.best_step;
  summary.best_metric = p.best_metric;
  summary.epoch = info.epoch;
  summary.train_loss = p.step > 0 ? p.total_loss / static_cast<double>(p.step) : 0;
  summary.runtime_seconds = elapsed();
  summary.tokens = p.tokens;
  summary.samples = p.samples;
  summary.total_flos = total_flos(model_, p.tokens);
  for (Callback* callback : callbacks_) callback->on_train_end(summary);
  return summary;
}

}  // namespace fettle
