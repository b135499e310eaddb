// fettle under the library of shim.h.
#pragma once
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <sys/types.h>

#include <string>
#include <vector>

#include "quickstart.h"

namespace fettle::test {

/// A fault as shim.h describes it.
struct Fault {
  std::string below;
  std::string kind;
  std::string operations;  ///< empty: all that write
  long at = 1;
  bool lasting = false;
  long seed = 0;
  std::vector<std::string> more;  ///< further NAME=value
};

/// What became of it.
struct FaultResult : ProcessResult {
  long struck = 0;              ///< operations that were made to fail
  long counted = 0;             ///< operations that could have been, in a run that came to its own end
  long allocations = 0;         ///< the same of allocations, with FAULT_MEMORY
  std::string operation, path;  ///< the first one struck
};

FaultResult run_with_fault(const std::vector<std::string>& words, const Fault& fault);

/// With FETTLE_FAULTS=all every place is tried, else about `few` of them.
bool try_all_faults();
long fault_stride(long count, long few);

/// A program that runs beside the test.
class Running {
 public:
  Running(const std::vector<std::string>& words, const std::vector<std::string>& environment = {});
  ~Running();
  Running(const Running&) = delete;
  Running& operator=(const Running&) = delete;
  pid_t pid() const { return pid_; }
  /// Until it has stopped itself (SIGSTOP); false when it ended instead.
  bool wait_for_stop();
  void send(int signal);
  ProcessResult wait();

 private:
  TempDir files_;
  pid_t pid_ = -1;
};

/// The environment that preloads the library.
std::vector<std::string> fault_environment(const Fault& fault);

}  // namespace fettle::test
