#include "fettle/track/run_record.h"

#include <sys/resource.h>

#include <chrono>
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>

#include "fettle/base/error.h"
#include "fettle/base/file.h"
#include "fettle/base/system.h"
#include "fettle/base/version.h"
#include "fettle/track/gpu_samples.h"

namespace fettle {
namespace fs = std::filesystem;
namespace {

constexpr uint64_t kSmall = uint64_t{1} << 20;

std::string first_line(const fs::path& path) {
  std::error_code error;
  if (!fs::is_regular_file(path, error) || fs::file_size(path, error) > kSmall) return {};
  const std::string text = read_file(path, kSmall);
  return text.substr(0, text.find('\n'));
}

// Read from the repository's files: no program is run.
std::string git_commit() {
  std::error_code error;
  for (fs::path folder = fs::current_path(error); !error; folder = folder.parent_path()) {
    fs::path git = folder / ".git";
    if (fs::is_regular_file(git, error)) {  // a worktree
      const std::string line = first_line(git);
      if (line.starts_with("gitdir: ")) git = line.substr(8);
    }
    if (fs::is_directory(git, error)) {
      std::string head = first_line(git / "HEAD");
      if (!head.starts_with("ref: ")) return head;
      const std::string name = head.substr(5);
      if (!is_contained_path(name)) return {};
      const std::string common = first_line(git / "commondir");
      for (const fs::path& base : {git, common.empty() ? git : (git / common).lexically_normal()})
        if (std::string commit = first_line(base / name); !commit.empty()) return commit;
      return {};
    }
    if (folder == folder.parent_path()) break;
  }
  return {};
}

double wall_seconds() {
  return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

// Of intervals: the wall clock may be set meanwhile.
double steady_seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

double cpu_seconds() {
  rusage usage{};
  ::getrusage(RUSAGE_SELF, &usage);
  auto seconds = [](const timeval& t) {
    return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_usec) * 1e-6;
  };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

}  // namespace

void write_environment(const fs::path& folder, const std::string& compute_path, int threads) {
  const CpuInfo cpu = cpu_info();
  const MemoryInfo memory = memory_info();
  OrderedJson json = {{"fettle", kVersion},
                      {"system", operating_system()},
                      {"processor", cpu.model},
                      {"instruction_sets", cpu.features.text()},
                      {"compute_path", compute_path},
                      {"usable_cores", cpu.usable_cores},
                      {"threads", threads},
                      {"memory_bytes", memory.total},
                      {"started_at", static_cast<int64_t>(wall_seconds())}};
  if (memory.limit) json["memory_limit_bytes"] = *memory.limit;
  for (const GpuSample& gpu : sample_gpus()) json["gpus"].push_back(gpu.name);
  if (const std::string commit = git_commit(); !commit.empty()) json["git_commit"] = printable(commit, 64);
  write_file_atomically(folder / "environment.json",
                        json.dump(1, ' ', false, OrderedJson::error_handler_t::replace) + "\n");
}

SystemLog::SystemLog(fs::path folder)
    : path_(folder / "system_log.jsonl"), seconds_(steady_seconds()), cpu_(cpu_seconds()) {}

void SystemLog::sample(int64_t step) {
  const double seconds = steady_seconds(), cpu = cpu_seconds();
  OrderedJson json = {
      {"step", step},
      {"time", wall_seconds()},
      {"cpu_percent", std::round(1000 * (cpu - cpu_) / std::max(seconds - seconds_, 1e-6)) / 10},
      {"resident_bytes", resident_bytes()},
      {"available_bytes", memory_info().available}};
  for (const GpuSample& gpu : sample_gpus())
    json["gpus"].push_back(
        {{"percent", gpu.percent}, {"used_bytes", gpu.used_bytes}, {"total_bytes", gpu.total_bytes}});
  seconds_ = seconds;
  cpu_ = cpu;
  // A sample that cannot be written is no reason to end a run.
  std::unique_ptr<FILE, int (*)(FILE*)> file(std::fopen(path_.c_str(), "ab"), std::fclose);
  if (!file) return;
  const std::string line = json.dump() + "\n";
  std::fwrite(line.data(), 1, line.size(), file.get());
}

RunNotes read_notes(const fs::path& folder) {
  RunNotes notes;
  const fs::path path = folder / "notes.json";
  if (!fs::exists(path)) return notes;
  const Json json = Json::parse(read_file(path, kSmall), nullptr, false);
  if (!json.is_object()) return notes;
  if (json.contains("note") && json["note"].is_string()) notes.note = json["note"];
  if (json.contains("tags") && json["tags"].is_array())
    for (const Json& tag : json["tags"])
      if (tag.is_string()) notes.tags.push_back(tag);
  return notes;
}

void write_notes(const fs::path& folder, const RunNotes& notes) {
  OrderedJson json = {{"note", notes.note}, {"tags", notes.tags}};
  write_file_atomically(folder / "notes.json",
                        json.dump(1, ' ', false, OrderedJson::error_handler_t::replace) + "\n");
}

}  // namespace fettle
