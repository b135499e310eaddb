#include "fettle/track/run_folder.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "fettle/base/error.h"
#include "fettle/base/file.h"
#include "fettle/base/json.h"
#include "fettle/track/run_index.h"

namespace fettle {
namespace fs = std::filesystem;
namespace {

constexpr uint64_t kMaxFile = uint64_t{256} << 20;
constexpr int kDepth = 6;

// The process that trains holds a lock, which the system lets go of whatever becomes of it.
bool is_locked(const fs::path& folder) {
  int fd = ::open((folder / ".lock").c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return false;
  bool locked = ::flock(fd, LOCK_SH | LOCK_NB) != 0;
  ::close(fd);
  return locked;
}

std::optional<double> number(const Json& json, const char* key) {
  auto found = json.find(key);
  if (found == json.end() || !found->is_number()) return std::nullopt;
  return found->get<double>();
}

// The flat "key: value" lines that the program writes.
std::map<std::string, std::string> read_options(const fs::path& path) {
  std::map<std::string, std::string> options;
  if (!fs::exists(path)) return options;
  std::string text = read_file(path, uint64_t{1} << 20);
  for (size_t begin = 0; begin < text.size();) {
    size_t end = std::min(text.find('\n', begin), text.size());
    std::string line = text.substr(begin, end - begin);
    begin = end + 1;
    size_t colon = line.find(": ");
    if (line.empty() || line[0] == '#' || line[0] == ' ' || line[0] == '-' || colon == line.npos) continue;
    std::string value = line.substr(colon + 2);
    if (value.size() > 1 && value.front() == '"' && value.back() == '"')
      value = value.substr(1, value.size() - 2);
    options[printable(line.substr(0, colon), 80)] = printable(value, 200);
  }
  return options;
}

void read_log(const fs::path& path, RunFolder& run) {
  if (!fs::exists(path)) return;
  std::string text = read_file(path, kMaxFile);
  for (size_t begin = 0; begin < text.size();) {
    size_t end = std::min(text.find('\n', begin), text.size());
    std::string_view line(text.data() + begin, end - begin);
    begin = end + 1;
    // The last line may be half written.
    Json json = Json::parse(line, nullptr, false);
    if (!json.is_object()) continue;
    RunPoint point{.step = static_cast<int64_t>(number(json, "current_steps").value_or(0)),
                   .loss = number(json, "loss"),
                   .learning_rate = number(json, "lr"),
                   .grad_norm = number(json, "grad_norm"),
                   .eval_loss = number(json, "eval_loss")};
    run.step = std::max(run.step, point.step);
    run.total_steps =
        static_cast<int64_t>(number(json, "total_steps").value_or(static_cast<double>(run.total_steps)));
    run.tokens = static_cast<int64_t>(number(json, "total_tokens").value_or(static_cast<double>(run.tokens)));
    run.tokens_per_second = number(json, "throughput").value_or(run.tokens_per_second);
    if (json.value("elapsed_time", Json()).is_string())
      run.elapsed = printable(json["elapsed_time"].get<std::string>(), 40);
    run.points.push_back(point);
  }
}

Json read_if_there(const fs::path& path) {
  if (!fs::exists(path)) return Json::object();
  Json json = Json::parse(read_file(path, kMaxFile), nullptr, false);
  return json.is_object() ? json : Json::object();
}

void find_below(const fs::path& folder, int depth, RunIndex& index, std::vector<RunFolder>& runs) {
  if (is_run_folder(folder)) {
    runs.push_back(index.read(folder));
    return;
  }
  if (depth == 0) return;
  std::error_code error;
  for (const fs::directory_entry& entry :
       fs::directory_iterator(folder, fs::directory_options::skip_permission_denied, error)) {
    std::string name = entry.path().filename().string();
    if (entry.is_directory(error) && !entry.is_symlink(error) && !name.starts_with("."))
      find_below(entry.path(), depth - 1, index, runs);
  }
}

}  // namespace

const char* status_name(RunFolder::Status status) {
  return status == RunFolder::Status::kRunning    ? "running"
         : status == RunFolder::Status::kFinished ? "finished"
                                                  : "interrupted";
}

std::optional<double> RunFolder::last_loss() const {
  for (auto point = points.rbegin(); point != points.rend(); ++point)
    if (point->loss) return point->loss;
  return std::nullopt;
}

std::optional<double> RunFolder::best_eval_loss() const {
  std::optional<double> best;
  for (const RunPoint& point : points)
    if (point.eval_loss && (!best || *point.eval_loss < *best)) best = point.eval_loss;
  return best;
}

bool is_run_folder(const fs::path& folder) {
  std::error_code error;
  return fs::exists(folder / "trainer_log.jsonl", error) &&
         !folder.filename().string().starts_with("checkpoint-");
}

RunFolder read_run_folder(const fs::path& folder) {
  if (!is_run_folder(folder))
    fail_input("{}: not the folder of a run: no trainer_log.jsonl", folder.string());
  RunFolder run;
  run.path = folder;
  run.options = read_options(folder / "run_config.yaml");
  fs::path plain = folder.lexically_normal();
  run.name = (plain.has_filename() ? plain : plain.parent_path()).filename().string();
  if (auto name = run.options.find("run_name"); name != run.options.end()) run.name = name->second;
  read_log(folder / "trainer_log.jsonl", run);
  Json results = read_if_there(folder / "train_results.json"),
       state = read_if_there(folder / "trainer_state.json");
  run.train_loss = number(results, "train_loss");
  run.best_metric = number(state, "best_metric");
  run.best_step = static_cast<int64_t>(number(state, "best_global_step").value_or(0));
  run.step = std::max(run.step, static_cast<int64_t>(number(state, "global_step").value_or(0)));
  run.total_steps = std::max(run.total_steps, static_cast<int64_t>(number(state, "max_steps").value_or(0)));
  refresh_status(run);
  return run;
}

void refresh_status(RunFolder& run) {
  run.changed = fs::last_write_time(run.path / "trainer_log.jsonl");
  run.status = is_locked(run.path) ? RunFolder::Status::kRunning
               : run.train_loss    ? RunFolder::Status::kFinished
                                   : RunFolder::Status::kInterrupted;
}

std::vector<RunFolder> find_run_folders(const fs::path& root, RunIndex& index) {
  if (!fs::is_directory(root)) fail_input("{}: no such folder", root.string());
  std::vector<RunFolder> runs;
  find_below(root, kDepth, index, runs);
  index.forget_missing(root);
  std::sort(runs.begin(), runs.end(),
            [](const RunFolder& a, const RunFolder& b) { return a.changed > b.changed; });
  return runs;
}

}  // namespace fettle
