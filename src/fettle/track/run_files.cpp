#include "fettle/track/run_files.h"

#include <cerrno>
#include <cmath>
#include <cstring>
#include <nlohmann/json.hpp>

#include "fettle/base/error.h"
#include "fettle/base/file.h"

namespace fettle {
namespace fs = std::filesystem;
namespace {

// Python's str(timedelta): "1 day, 2:03:04".
std::string clock_text(double seconds) {
  int64_t s = static_cast<int64_t>(std::max(0.0, seconds)), days = s / 86400;
  std::string time = fmt::format("{}:{:02}:{:02}", s % 86400 / 3600, s % 3600 / 60, s % 60);
  return days == 0 ? time : fmt::format("{} day{}, {}", days, days == 1 ? "" : "s", time);
}

}  // namespace

TrainerLog::TrainerLog(const fs::path& path, uint64_t keep_bytes)
    : path_(path), file_(std::fopen(path.c_str(), keep_bytes > 0 ? "r+e" : "we"), std::fclose) {
  if (!file_) fail_resources("{}: cannot open: {}", path.string(), std::strerror(errno));
  if (keep_bytes == 0) return;
  if (fs::file_size(path) < keep_bytes)
    fail_input("{}: {} bytes, the checkpoint knows of {}; the log was cut", path.string(),
               fs::file_size(path), keep_bytes);
  fs::resize_file(path, keep_bytes);
  std::fseek(file_.get(), 0, SEEK_END);
}

uint64_t TrainerLog::bytes() const {
  return static_cast<uint64_t>(std::ftell(file_.get()));
}

void TrainerLog::write(const TrainerLogLine& line) {
  double done = static_cast<double>(line.current_steps),
         remaining = static_cast<double>(line.total_steps - line.current_steps);
  OrderedJson json = {
      {"current_steps", line.current_steps},
      {"total_steps", line.total_steps},
      {"loss", line.loss},
      {"lr", line.lr},
      {"epoch", line.epoch},
      {"percentage", std::round(done / static_cast<double>(line.total_steps) * 10000.0) / 100.0},
      {"elapsed_time", clock_text(line.elapsed_seconds)},
      {"remaining_time", clock_text(done > 0 ? line.elapsed_seconds / done * remaining : 0)},
      {"throughput", std::round(line.throughput * 100.0) / 100.0},
      {"total_tokens", line.total_tokens}};
  if (line.grad_norm) json["grad_norm"] = *line.grad_norm;
  std::string text = json.dump() + "\n";
  // A log that cannot be written must not end the training; the run's own output says the same.
  if (std::fwrite(text.data(), 1, text.size(), file_.get()) == text.size()) std::fflush(file_.get());
}

void TrainerLog::write_evaluation(int64_t step, int64_t total_steps,
                                  const std::map<std::string, double>& figures, double epoch) {
  OrderedJson json = {{"current_steps", step}, {"total_steps", total_steps}};
  for (const auto& [name, value] : figures) json[name] = value;
  json["epoch"] = epoch;
  json["percentage"] =
      std::round(static_cast<double>(step) / static_cast<double>(total_steps) * 10000.0) / 100.0;
  std::string text = json.dump() + "\n";
  if (std::fwrite(text.data(), 1, text.size(), file_.get()) == text.size()) std::fflush(file_.get());
}

void TrainerState::write(const fs::path& path) const {
  Json json = {
      {"best_global_step", best_global_step > 0 ? Json(best_global_step) : Json()},
      {"best_metric", best_global_step > 0 ? Json(best_metric) : Json()},
      {"best_model_checkpoint", best_model_checkpoint.empty() ? Json() : Json(best_model_checkpoint)},
      {"epoch", epoch},
      {"eval_steps", logging_steps},
      {"global_step", global_step},
      {"is_hyper_param_search", false},
      {"is_local_process_zero", true},
      {"is_world_process_zero", true},
      {"log_history", log_history.is_null() ? Json::array() : log_history},
      {"logging_steps", logging_steps},
      {"max_steps", max_steps},
      {"num_input_tokens_seen", num_input_tokens_seen},
      {"num_train_epochs", num_train_epochs},
      {"save_steps", save_steps},
      {"stateful_callbacks", Json::object()},
      {"total_flos", total_flos},
      {"train_batch_size", train_batch_size},
      {"trial_name", nullptr},
      {"trial_params", nullptr}};
  write_file_atomically(path, json.dump(2) + "\n");
}

void write_results(const fs::path& folder, const std::string& split,
                   const std::map<std::string, double>& metrics) {
  Json results = Json::object(), all = Json::object();
  for (const auto& [name, value] : metrics) results[name] = value;
  fs::path merged = folder / "all_results.json";
  if (fs::exists(merged)) all = read_json(merged);
  if (!all.is_object()) all = Json::object();
  all.update(results);
  write_file_atomically(folder / (split + "_results.json"), results.dump(4) + "\n");
  write_file_atomically(merged, all.dump(4) + "\n");
}

}  // namespace fettle
