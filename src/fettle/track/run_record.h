// What a run notes about the machine it runs on, and what people note about a run.
#pragma once
#include <filesystem>
#include <string>
#include <vector>

#include "fettle/base/json.h"

namespace fettle {

/// environment.json: program, system, processor, cores, threads, memory, graphics processors, and the commit
/// of the git repository around the working folder, where there is one.
void write_environment(const std::filesystem::path& folder, const std::string& compute_path, int threads);

/// system_log.jsonl, a line at each logging event: how busy the processor was with this run since the last
/// one (100: one core), memory of the process and what is left of the machine's; of graphics processors
/// their use and memory.
class SystemLog {
 public:
  explicit SystemLog(std::filesystem::path folder);
  void sample(int64_t step);

 private:
  std::filesystem::path path_;
  double seconds_ = 0, cpu_ = 0;
};

/// notes.json of a run.
struct RunNotes {
  std::string note;
  std::vector<std::string> tags;
};
RunNotes read_notes(const std::filesystem::path& folder);
void write_notes(const std::filesystem::path& folder, const RunNotes& notes);

}  // namespace fettle
