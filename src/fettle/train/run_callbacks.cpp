#include "fettle/train/run_callbacks.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "fettle/base/error.h"
#include "fettle/base/failpoint.h"
#include "fettle/base/file.h"
#include "fettle/base/system.h"
#include "fettle/base/terminal.h"
#include "fettle/models/saver.h"
#include "fettle/track/plot.h"
#include "fettle/train/checkpoint.h"

namespace fettle {
namespace fs = std::filesystem;
namespace {

// Trainer rounds what it logs to four digits.
double rounded4(double value) {
  return std::round(value * 1e4) / 1e4;
}

std::string metric_prefix(const std::string& split, const EvalRecord& r) {
  return r.name.empty() ? split + "_" : split + "_" + r.name + "_";
}

// Under Trainer's names.
std::map<std::string, double> metrics_of(const std::string& split, const EvalRecord& r) {
  const std::string prefix = metric_prefix(split, r);
  const double seconds = std::max(r.runtime_seconds, 1e-9);
  auto rate = [&](int64_t count) { return std::round(static_cast<double>(count) / seconds * 1e3) / 1e3; };
  std::map<std::string, double> metrics = {{prefix + "runtime", rounded4(seconds)},
                                           {prefix + "samples_per_second", rate(r.samples)},
                                           {prefix + "steps_per_second", rate(r.batches)}};
  for (const auto& [metric, value] : r.metrics) metrics[prefix + metric] = value;
  return metrics;
}

ProgressOptions bar(int64_t total) {
  ProgressOptions options;
  options.label = "train";
  options.total = total;
  options.unit = "step";
  return options;
}

}  // namespace

ProgressCallback::ProgressCallback(int64_t total_steps, int64_t skipped_steps)
    : progress_(bar(total_steps)), skipped_steps_(skipped_steps) {}

void ProgressCallback::on_step_end(const StepInfo& info) {
  if (info.skipped_steps > skipped_steps_)
    progress_.print(fmt::format(
        "step {}: skipped, the gradients are not finite{}; loss scale {:g} -> {:g}", info.step,
        std::isfinite(info.loss) ? ""
                                 : fmt::format(" and the loss is {}: an activation exceeds float16's 65504, "
                                               "which bf16: true would hold",
                                               info.loss),
        info.last_loss_scale, info.loss_scale));
  else if (info.loss_scale > info.last_loss_scale)
    progress_.print(
        fmt::format("step {}: loss scale {:g} -> {:g}", info.step, info.last_loss_scale, info.loss_scale));
  skipped_steps_ = info.skipped_steps;
  progress_.update(info.step,
                   fmt::format("loss {:.4f}  lr {:.2e}  {:.0f} tokens/s", info.loss, info.learning_rate,
                               static_cast<double>(info.tokens) / std::max(info.elapsed_seconds, 1e-9)));
}
void ProgressCallback::on_evaluate(const EvalRecord& r) {
  std::string more;
  for (const auto& [metric, value] : r.metrics)
    if (metric != "loss" && metric != "perplexity") more += fmt::format(", {} {:.4g}", metric, value);
  progress_.print(fmt::format("step {}: {}eval_loss {:.4f}, perplexity {:.2f}{} ({} samples, {:.1f} s)",
                              r.step, r.name.empty() ? "" : r.name + ": ", r.loss, std::exp(r.loss), more,
                              r.samples, r.runtime_seconds));
}
void ProgressCallback::on_train_end(const TrainSummary&) {
  progress_.finish();
}

FilesCallback::FilesCallback(fs::path folder, const TrainArguments& arguments, const TrainPlan& plan,
                             bool plot, Json history, uint64_t log_bytes)
    : folder_(std::move(folder)),
      arguments_(arguments),
      plan_(plan),
      plot_(plot),
      log_(folder_ / "trainer_log.jsonl", log_bytes),
      system_(folder_),
      history_(std::move(history)) {
  for (const Json& entry : history_) {
    double step = entry.value("step", 0.0);
    if (entry.contains("loss")) {
      steps_.push_back(step);
      losses_.push_back(entry["loss"]);
    }
    for (const auto& [key, value] : entry.items())
      if (key.starts_with("eval_") && key.ends_with("_loss") && value.is_number()) {
        eval_curves_[key].steps.push_back(step);
        eval_curves_[key].losses.push_back(value);
      }
  }
}

void FilesCallback::on_log(const LogRecord& r) {
  Json entry = {{"epoch", rounded4(r.epoch)},
                {"learning_rate", r.learning_rate},
                {"loss", rounded4(r.loss)},
                {"step", r.step}};
  if (r.grad_norm) entry["grad_norm"] = *r.grad_norm;
  if (r.loss_scale) {
    entry["loss_scale"] = *r.loss_scale;
    entry["skipped_steps"] = r.skipped_steps;
  }
  history_.push_back(std::move(entry));
  system_.sample(r.step);
  steps_.push_back(static_cast<double>(r.step));
  losses_.push_back(r.loss);
  log_.write({.current_steps = r.step,
              .total_steps = r.total_steps,
              .loss = rounded4(r.loss),
              .lr = r.learning_rate,
              .epoch = rounded4(r.epoch),
              .elapsed_seconds = r.elapsed_seconds,
              .throughput = static_cast<double>(r.tokens) / std::max(r.elapsed_seconds, 1e-9),
              .total_tokens = r.tokens,
              .grad_norm = r.grad_norm,
              .loss_scale = r.loss_scale,
              .skipped_steps = r.skipped_steps});
}

void FilesCallback::on_evaluate(const EvalRecord& r) {
  const std::string prefix = metric_prefix("eval", r);
  std::map<std::string, double> metrics = metrics_of("eval", r);
  metrics["epoch"] = rounded4(r.epoch);
  Json entry = metrics;
  entry["step"] = r.step;
  history_.push_back(std::move(entry));
  Curve& curve = eval_curves_[prefix + "loss"];
  curve.steps.push_back(static_cast<double>(r.step));
  curve.losses.push_back(r.loss);
  std::map<std::string, double> figures;
  for (const auto& [metric, value] : r.metrics)
    if (metric != "perplexity") figures[prefix + metric] = metric == "loss" ? value : rounded4(value);
  log_.write_evaluation(r.step, plan_.total_steps, figures, rounded4(r.epoch));
  if (eval_step_ != r.step) eval_results_.clear();
  eval_step_ = r.step;
  eval_results_.insert(metrics.begin(), metrics.end());
  attempt([&] { write_results(folder_, "eval", eval_results_); });
}

void FilesCallback::attempt(const std::function<void()>& write) {
  try {
    write();
  } catch (const Error& error) {
    if (error.code() != ExitCode::kResources) throw;
    if (problem_.empty()) warn("{}; the run goes on without it", error.what());
    problem_ = error.what();
  }
}

void FilesCallback::add_best(TrainerState& state, int64_t step, double metric) const {
  state.best_global_step = step;
  state.best_metric = metric;
  fs::path folder = folder_ / fmt::format("checkpoint-{}", step);
  // The checkpoint of this very step is still being written.
  if (step > 0 && (fs::exists(folder) || step == state.global_step))
    state.best_model_checkpoint = folder.string();
}

void FilesCallback::write_state(const fs::path& folder, const StepInfo& info) {
  TrainerState state{.global_step = info.step,
                     .max_steps = plan_.total_steps,
                     .num_train_epochs = plan_.epochs,
                     .epoch = info.epoch,
                     .logging_steps = arguments_.logging_steps,
                     .save_steps = arguments_.save_steps,
                     .train_batch_size = arguments_.per_device_train_batch_size,
                     .num_input_tokens_seen = info.tokens,
                     .log_history = history_};
  add_best(state, info.best_step, info.best_metric);
  state.write(folder / "trainer_state.json");
}

void FilesCallback::on_diverge(const DivergeRecord& r) {
  OrderedJson rows = OrderedJson::array();
  for (size_t i = 0; i < r.rows.size(); ++i) rows.push_back({{"row", r.rows[i]}, {"origin", r.origins[i]}});
  const OrderedJson json = {{"step", r.step}, {"what", r.what}, {"rows", rows}};
  attempt([&] {
    write_file_atomically(folder_ / "diverged.json",
                          json.dump(1, ' ', false, OrderedJson::error_handler_t::replace) + "\n");
  });
}

void FilesCallback::on_train_end(const TrainSummary& s) {
  double samples = static_cast<double>(s.samples) / std::max(s.runtime_seconds, 1e-9),
         steps = static_cast<double>(s.steps) / std::max(s.runtime_seconds, 1e-9);
  std::map<std::string, double> metrics = {
      {"epoch", s.epoch},
      {"total_flos", s.total_flos},
      {"train_loss", s.train_loss},
      {"train_runtime", rounded4(s.runtime_seconds)},
      {"train_samples_per_second", std::round(samples * 1e3) / 1e3},
      {"train_steps_per_second", std::round(steps * 1e3) / 1e3},
      {"effective_tokens_per_sec", static_cast<double>(s.tokens) / std::max(s.runtime_seconds, 1e-9)}};
  Json last = metrics;
  last["step"] = s.steps;
  history_.push_back(last);
  TrainerState state{.global_step = s.steps,
                     .max_steps = plan_.total_steps,
                     .num_train_epochs = plan_.epochs,
                     .epoch = s.epoch,
                     .total_flos = s.total_flos,
                     .logging_steps = arguments_.logging_steps,
                     .save_steps = arguments_.save_steps,
                     .train_batch_size = arguments_.per_device_train_batch_size,
                     .num_input_tokens_seen = s.tokens,
                     .log_history = history_};
  add_best(state, s.best_step, s.best_metric);
  attempt([&] { state.write(folder_ / "trainer_state.json"); });
  // A run that was stopped has none yet; its folder is that of an interrupted run.
  if (!s.stopped) attempt([&] { write_results(folder_, "train", metrics); });
  if (plot_ && !losses_.empty()) attempt([&] { plot_loss(folder_, steps_, losses_); });
  if (!plot_ || eval_curves_.empty()) return;
  Chart chart{.title = "eval_loss", .x_label = "step", .y_label = "loss", .series = {}};
  for (const auto& [name, curve] : eval_curves_)
    chart.series.push_back({.name = name, .x = curve.steps, .y = curve.losses});
  attempt([&] { draw_chart(chart, folder_ / "training_eval_loss.png"); });
}

void write_metrics(const fs::path& folder, const std::string& split, const std::vector<EvalRecord>& records) {
  std::map<std::string, double> metrics;
  for (const EvalRecord& record : records) {
    std::map<std::string, double> own = metrics_of(split, record);
    metrics.insert(own.begin(), own.end());
  }
  write_results(folder, split, metrics);
}

CheckpointCallback::CheckpointCallback(fs::path folder, Save save, FilesCallback& files, Options options)
    : folder_(std::move(folder)), save_(std::move(save)), files_(files), options_(options) {}

void CheckpointCallback::on_save(const StepInfo& info) {
  problem_.clear();
  try {
    write(info);
    return;
  } catch (const Error& error) {
    if (error.code() != ExitCode::kResources) throw;
    problem_ = error.what();
  } catch (const fs::filesystem_error& error) {
    problem_ = error.what();
  } catch (const std::bad_alloc&) {
    problem_ = "out of memory";
  }
  const std::optional<uint64_t> free = disk_free(folder_);
  problem_ = fmt::format("cannot save checkpoint-{} (need about {}, have {}): {}", info.step,
                         format_bytes(options_.bytes), free ? format_bytes(*free) : "?", problem_);
  if (options_.stop_at_failure) throw Error(ExitCode::kResources, problem_);
  warn("{}; the run goes on, checkpoints before it stay, and the next save is the next try", problem_);
}

void CheckpointCallback::write(const StepInfo& info) {
  fs::path target = folder_ / fmt::format("checkpoint-{}", info.step);
  if (!fs::exists(folder_)) warn("output_dir {} has vanished; it is made again", folder_.string());
  // A folder of that name is of a run that was killed behind it, or damaged.
  if (fs::exists(target)) fs::remove_all(target);
  failpoint("save-begin");
  {
    StagedFolder staged(target);
    save_(staged.path());
    failpoint("save-weights");
    files_.write_state(staged.path(), info);
    files_.sync_log();
    seal_checkpoint(staged.path(), info.step);
    failpoint("save-rename");
    staged.commit();
  }
  failpoint("save-latest");
  write_file_atomically(folder_ / "latest", target.filename().string() + "\n");
  failpoint("save-rotate");
  rotate(info.step, info.best_step);
}

void CheckpointCallback::rotate(int64_t newest, int64_t best) {
  if (options_.limit <= 0) return;
  int64_t keep = options_.limit - 1;  // besides the newest
  std::vector<std::pair<int64_t, fs::path>> old;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder_))
    if (std::optional<int64_t> step = checkpoint_step(entry.path()); step && *step < newest) {
      if (*step == best)
        --keep;
      else
        old.emplace_back(*step, entry.path());
    }
  std::sort(old.begin(), old.end());
  for (size_t i = 0; i + static_cast<size_t>(std::max<int64_t>(keep, 0)) < old.size(); ++i) {
    // Renamed first, so that what is half removed is never taken for a checkpoint.
    fs::path trash = folder_ / (".trash-" + old[i].second.filename().string());
    std::error_code error;
    fs::rename(old[i].second, trash, error);
    failpoint("save-remove");
    if (!error) fs::remove_all(trash, error);
    if (error) warn("{}: cannot remove the old checkpoint: {}", old[i].second.string(), error.message());
  }
}

}  // namespace fettle
