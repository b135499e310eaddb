// The trials of a sweep: each a run of its own process in a folder of its own, with a record that survives a
// crash.
#pragma once
#include <sys/types.h>

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "fettle/app/sweep_file.h"

namespace fettle::app {

struct Trial {
  int64_t number = 0;
  SearchPoint point;
  std::map<int64_t, double>
      values;           ///< by the steps after which they were measured; 0: at the end of the run
  std::string failure;  ///< not empty: it failed, and how
  bool measured() const { return !values.empty(); }
  /// The last one.
  double value() const {
    return values.begin()->first == 0 ? values.begin()->second : values.rbegin()->second;
  }
};

class SweepRunner {
 public:
  /// Opens output_dir: new, or with the record of an earlier start of the same sweep. Error(kUsage) when it
  /// holds another sweep, or something else.
  explicit SweepRunner(SweepFile file);
  ~SweepRunner();
  SweepRunner(const SweepRunner&) = delete;
  SweepRunner& operator=(const SweepRunner&) = delete;

  const SweepFile& file() const { return file_; }
  const std::map<int64_t, Trial>& trials() const { return trials_; }
  std::filesystem::path folder(int64_t number) const;

  /// Records a trial, if it is new.
  void define(int64_t number, SearchPoint point);
  /// Runs trials until `steps` (0: to their end), `parallel` at a time, passing over what is known. False
  /// when the user asked to stop; what ran has saved a checkpoint then.
  bool run(const std::vector<int64_t>& numbers, int64_t steps,
           const std::function<void(const Trial&)>& finished);
  /// A value that was measured elsewhere.
  void tell(int64_t number, double value);

 private:
  struct Running;
  void record(const std::string& line);
  void read_record();
  pid_t start(const Trial& trial, int64_t steps) const;
  void finish(Trial& trial, int64_t steps, int status);
  double measure(const Trial& trial) const;

  SweepFile file_;
  std::map<int64_t, Trial> trials_;
  int record_ = -1;
};

}  // namespace fettle::app
