// Runs that were read before, in one SQLite file. Only a cache: folders stay what counts.
#pragma once
#include <filesystem>
#include <memory>

#include "fettle/track/run_folder.h"

namespace fettle {

/// A run whose files have changed since (size or time) is read anew; whether it is running is always asked of
/// the system. A damaged or foreign file, or one of another version, is replaced. Where nothing can be
/// written, or another process is at it for long, every folder is simply read.
class RunIndex {
 public:
  /// `file`: the index, made when it is not there; an empty path is no index.
  explicit RunIndex(const std::filesystem::path& file);
  ~RunIndex();
  RunIndex(const RunIndex&) = delete;
  RunIndex& operator=(const RunIndex&) = delete;

  /// As read_run_folder.
  RunFolder read(const std::filesystem::path& folder);
  /// Forgets runs below `root` whose folder is gone.
  void forget_missing(const std::filesystem::path& root);
  int64_t hits() const { return hits_; }  ///< runs that did not have to be read

 private:
  struct Database;
  std::unique_ptr<Database> database_;
  int64_t hits_ = 0;
};

/// fettle/runs.sqlite in $XDG_CACHE_HOME, else in ~/.cache; empty when neither variable is set.
std::filesystem::path default_run_index();

}  // namespace fettle
