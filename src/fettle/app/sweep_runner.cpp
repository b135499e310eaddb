#include "fettle/app/sweep_runner.h"

#include <fcntl.h>
#include <spawn.h>
#include <sys/file.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmath>
#include <cstring>
#include <nlohmann/json.hpp>

#include "fettle/base/error.h"
#include "fettle/base/file.h"
#include "fettle/base/json.h"
#include "fettle/track/run_folder.h"
#include "fettle/train/stop_signal.h"

extern char** environ;

namespace fettle::app {
namespace fs = std::filesystem;
namespace {

constexpr const char* kRecord = "sweep.jsonl";
constexpr const char* kCopy = "sweep.yaml";

// The mean of the last tenth of the logged losses: a single step says little.
double late_loss(const RunFolder& run) {
  std::vector<double> losses;
  for (const RunPoint& point : run.points)
    if (point.loss) losses.push_back(*point.loss);
  if (losses.empty()) return std::nan("");
  const size_t count = std::max<size_t>(1, losses.size() / 10);
  double sum = 0;
  for (size_t i = losses.size() - count; i < losses.size(); ++i) sum += losses[i];
  return sum / static_cast<double>(count);
}

}  // namespace

SweepRunner::SweepRunner(SweepFile file) : file_(std::move(file)) {
  const fs::path copy = file_.output_dir / kCopy;
  if (fs::exists(copy)) {
    if (read_file(copy) != file_.text)
      fail_usage("{}: holds a sweep of another file; name another output_dir, or remove that folder",
                 file_.output_dir.string());
  } else if (fs::exists(file_.output_dir) && !fs::is_empty(file_.output_dir)) {
    fail_usage("{}: holds something else; name a new or an empty folder", file_.output_dir.string());
  } else {
    std::error_code error;
    fs::create_directories(file_.output_dir, error);
    if (error) fail_resources("{}: cannot create: {}", file_.output_dir.string(), error.message());
    write_file_atomically(copy, file_.text);
  }
  const fs::path record = file_.output_dir / kRecord;
  record_ = ::open(record.c_str(), O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
  if (record_ < 0) fail_resources("{}: {}", record.string(), std::strerror(errno));
  if (::flock(record_, LOCK_EX | LOCK_NB) != 0)
    fail_usage("{}: another process runs this sweep", file_.output_dir.string());
  read_record();
}

SweepRunner::~SweepRunner() {
  if (record_ >= 0) ::close(record_);
}

fs::path SweepRunner::folder(int64_t number) const {
  return file_.output_dir / fmt::format("trial-{:03}", number);
}

void SweepRunner::read_record() {
  const fs::path path = file_.output_dir / kRecord;
  const std::string text = read_file(path);
  size_t begin = 0;
  for (int line = 1; begin < text.size(); ++line) {
    const size_t end = text.find('\n', begin);
    if (end == text.npos) {
      // A line that a crash cut off.
      if (::ftruncate(record_, static_cast<off_t>(begin)) != 0)
        fail_resources("{}: {}", path.string(), std::strerror(errno));
      break;
    }
    const Json entry = parse_json(std::string_view(text).substr(begin, end - begin),
                                  fmt::format("{}:{}", path.string(), line));
    try {
      Trial& trial = trials_[entry.at("trial").get<int64_t>()];
      trial.number = entry.at("trial");
      if (entry.contains("parameters"))
        for (const SearchParameter& parameter : file_.parameters)
          trial.point.push_back(entry["parameters"].at(parameter.name).get<std::string>());
      if (entry.contains("value")) trial.values[entry.at("steps").get<int64_t>()] = entry["value"];
      if (entry.contains("failure")) trial.failure = entry["failure"];
    } catch (const Json::exception&) {
      fail_input("{}:{}: no record of a trial; remove the line", path.string(), line);
    }
    begin = end + 1;
  }
}

void SweepRunner::record(const std::string& line) {
  const std::string text = line + "\n";
  if (::write(record_, text.data(), text.size()) != static_cast<ssize_t>(text.size()) ||
      ::fsync(record_) != 0)
    fail_resources("{}: could not be written: {}", (file_.output_dir / kRecord).string(),
                   std::strerror(errno));
}

void SweepRunner::define(int64_t number, SearchPoint point) {
  if (trials_.contains(number)) return;
  OrderedJson parameters = OrderedJson::object();
  for (size_t i = 0; i < point.size(); ++i) parameters[file_.parameters[i].name] = point[i];
  record(OrderedJson{{"trial", number}, {"parameters", parameters}}.dump());
  trials_[number] = {.number = number, .point = std::move(point), .values = {}, .failure = {}};
}

void SweepRunner::tell(int64_t number, double value) {
  auto found = trials_.find(number);
  if (found == trials_.end()) fail_usage("trial {}: there is none", number);
  found->second.values[0] = value;
  record(OrderedJson{{"trial", number}, {"steps", 0}, {"value", value}}.dump());
}

pid_t SweepRunner::start(const Trial& trial, int64_t steps) const {
  const fs::path output = folder(trial.number);
  bool started = false;
  if (fs::exists(output))
    for (const fs::directory_entry& entry : fs::directory_iterator(output))
      started = started || entry.path().filename().string().starts_with("checkpoint-");
  std::vector<std::string> words = {fs::read_symlink("/proc/self/exe").string(), "train"};
  if (!file_.base.empty()) words.push_back(file_.base.string());
  for (const auto& [key, value] : file_.options) words.push_back(key + "=" + value);
  for (size_t i = 0; i < trial.point.size(); ++i)
    words.push_back(file_.parameters[i].name + "=" + trial.point[i]);
  words.push_back("output_dir=" + output.string());
  words.push_back(started ? "resume_from_checkpoint=true" : "overwrite_output_dir=true");
  if (steps > 0) words.push_back(fmt::format("stop_at_step={}", steps));
  std::vector<char*> arguments;
  for (std::string& word : words) arguments.push_back(word.data());
  arguments.push_back(nullptr);

  posix_spawn_file_actions_t files;
  posix_spawn_file_actions_init(&files);
  const std::string log = output.string() + ".log";
  posix_spawn_file_actions_addopen(&files, 0, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_addopen(&files, 1, log.c_str(), O_WRONLY | O_CREAT | O_APPEND, 0644);
  posix_spawn_file_actions_adddup2(&files, 1, 2);
  pid_t child = 0;
  const int error = ::posix_spawn(&child, words[0].c_str(), &files, nullptr, arguments.data(), environ);
  posix_spawn_file_actions_destroy(&files);
  if (error != 0) fail_resources("trial {}: cannot be started: {}", trial.number, std::strerror(error));
  return child;
}

double SweepRunner::measure(const Trial& trial) const {
  const fs::path output = folder(trial.number);
  if (file_.metric == "loss" || file_.metric == "train_loss") return late_loss(read_run_folder(output));
  const fs::path results = output / "eval_results.json";
  if (!fs::exists(results))
    fail_usage("metric {}: the runs do not evaluate; set eval_strategy and val_size, or metric: loss",
               file_.metric);
  const Json json = read_json(results);
  for (const std::string& name : {file_.metric, "eval_" + file_.metric})
    if (json.contains(name) && json[name].is_number()) return json[name];
  std::vector<std::string> known;
  for (const auto& [key, value] : json.items()) known.push_back(key);
  fail_usage("metric {}: is not in {}; it has {}", printable(file_.metric), results.string(),
             fmt::join(known, ", "));
}

void SweepRunner::finish(Trial& trial, int64_t steps, int status) {
  constexpr int kResumable = static_cast<int>(ExitCode::kResumable);
  const int code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  if (code == kResumable && steps == 0) return;  // stopped on request
  if (code != 0 && code != kResumable) {
    trial.failure =
        code >= 128 ? fmt::format("killed by signal {}", code - 128) : fmt::format("exit status {}", code);
    if (code == static_cast<int>(ExitCode::kDiverged)) trial.failure = "diverged";
    record(OrderedJson{{"trial", trial.number}, {"failure", trial.failure}}.dump());
    return;
  }
  const double value = measure(trial);
  if (!std::isfinite(value)) {
    trial.failure = fmt::format("{} is {}", file_.metric, value);
    record(OrderedJson{{"trial", trial.number}, {"failure", trial.failure}}.dump());
    return;
  }
  // A run that ended before it was to be stopped is at its end.
  const int64_t at = code == 0 ? 0 : steps;
  trial.values[at] = value;
  record(OrderedJson{{"trial", trial.number}, {"steps", at}, {"value", value}}.dump());
}

// Runs that go on, by process. When the sweep ends by an error they are asked to save and end, and waited
// for.
struct SweepRunner::Running {
  std::map<pid_t, int64_t> trials;

  ~Running() {
    ask_to_stop();
    for (const auto& [pid, number] : trials)
      while (::waitpid(pid, nullptr, 0) < 0 && errno == EINTR) {
      }
  }
  void ask_to_stop() const {
    for (const auto& [pid, number] : trials) ::kill(pid, SIGTERM);
  }
};

bool SweepRunner::run(const std::vector<int64_t>& numbers, int64_t steps,
                      const std::function<void(const Trial&)>& finished) {
  StopSignal stop;
  stop.hold();
  Running running;
  size_t next = 0;
  while (next < numbers.size() || !running.trials.empty()) {
    while (next < numbers.size() && static_cast<int64_t>(running.trials.size()) < file_.parallel &&
           !StopSignal::requested()) {
      Trial& trial = trials_.at(numbers[next++]);
      if (!trial.failure.empty() || trial.values.contains(0) || trial.values.contains(steps)) continue;
      running.trials[start(trial, steps)] = trial.number;
    }
    if (running.trials.empty()) break;
    int status = 0;
    const pid_t child = ::waitpid(-1, &status, 0);
    if (child < 0 && errno == EINTR) {
      // Children of a terminal hear of Ctrl-C themselves; others are told.
      if (StopSignal::requested()) running.ask_to_stop();
      continue;
    }
    auto found = running.trials.find(child);
    if (found == running.trials.end()) continue;
    Trial& trial = trials_.at(found->second);
    running.trials.erase(found);
    if (StopSignal::requested() && !(WIFEXITED(status) && WEXITSTATUS(status) == 0)) continue;
    finish(trial, steps, status);
    finished(trial);
  }
  return !StopSignal::requested();
}

}  // namespace fettle::app
