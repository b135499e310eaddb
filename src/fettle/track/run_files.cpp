#include "fettle/track/run_files.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstring>
#include <nlohmann/json.hpp>
#include <utility>

#include "fettle/base/error.h"
#include "fettle/base/file.h"
#include "fettle/base/terminal.h"

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

TrainerLog::TrainerLog(const fs::path& path, uint64_t keep_bytes) : path_(path) {
  fd_ = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | (keep_bytes > 0 ? 0 : O_TRUNC), 0644);
  if (fd_ < 0) {
    complain(std::strerror(errno));
    return;
  }
  struct stat info;
  const uint64_t size = ::fstat(fd_, &info) == 0 ? static_cast<uint64_t>(info.st_size) : 0;
  bytes_ = std::min(size, keep_bytes);
  if (size < keep_bytes)
    warn("{}: {} bytes, the checkpoint knows of {}; lines are missing", path.string(), size, keep_bytes);
  // A line that was cut must not run into the next one.
  if (char last; bytes_ > 0 && ::pread(fd_, &last, 1, static_cast<off_t>(bytes_ - 1)) == 1 && last != '\n')
    append("");
  if (size > bytes_ && ::ftruncate(fd_, static_cast<off_t>(bytes_)) != 0) complain(std::strerror(errno));
}

TrainerLog::~TrainerLog() {
  if (fd_ >= 0) ::close(fd_);
}

void TrainerLog::complain(const char* why) {
  if (!std::exchange(complained_, true))
    warn("{}: cannot be written: {}; the training goes on, lines of its log are missing", path_.string(),
         why);
}

void TrainerLog::append(std::string line) {
  if (fd_ < 0) return;
  line += '\n';
  for (size_t done = 0; done < line.size();) {
    const ssize_t n =
        ::pwrite(fd_, line.data() + done, line.size() - done, static_cast<off_t>(bytes_ + done));
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) {
      complain(std::strerror(n == 0 ? ENOSPC : errno));
      // Half a line would be taken for a damaged one.
      (void)!::ftruncate(fd_, static_cast<off_t>(bytes_));
      return;
    }
    done += static_cast<size_t>(n);
  }
  bytes_ += line.size();
}

void TrainerLog::sync() {
  if (fd_ >= 0 && ::fsync(fd_) != 0) complain(std::strerror(errno));
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
  if (line.loss_scale) {
    json["loss_scale"] = *line.loss_scale;
    json["skipped_steps"] = line.skipped_steps;
  }
  append(json.dump());
}

void TrainerLog::write_evaluation(int64_t step, int64_t total_steps,
                                  const std::map<std::string, double>& figures, double epoch) {
  OrderedJson json = {{"current_steps", step}, {"total_steps", total_steps}};
  for (const auto& [name, value] : figures) json[name] = value;
  json["epoch"] = epoch;
  json["percentage"] =
      std::round(static_cast<double>(step) / static_cast<double>(total_steps) * 10000.0) / 100.0;
  append(json.dump());
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
  // Figures of earlier runs; where they cannot be read there are none.
  if (fs::is_regular_file(merged)) all = Json::parse(read_file(merged), nullptr, false);
  if (!all.is_object()) all = Json::object();
  all.update(results);
  write_file_atomically(folder / (split + "_results.json"), results.dump(4) + "\n");
  write_file_atomically(merged, all.dump(4) + "\n");
}

}  // namespace fettle
