#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <sstream>
#include <stdexcept>

#include "faults/process.h"

namespace fettle::test {
namespace {

int exit_code(int status) {
  return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

}  // namespace

std::vector<std::string> fault_environment(const Fault& fault) {
  std::vector<std::string> variables = {std::string("LD_PRELOAD=") + FETTLE_FAULT_SHIM};
  auto add = [&](const char* name, const std::string& value) {
    if (!value.empty()) variables.push_back(std::string(name) + "=" + value);
  };
  add("FAULT_BELOW", fault.below);
  add("FAULT_KIND", fault.kind);
  add("FAULT_OPS", fault.operations);
  if (!fault.kind.empty()) add("FAULT_AT", std::to_string(fault.at));
  if (fault.lasting) add("FAULT_LASTING", "1");
  if (fault.seed) add("FAULT_SEED", std::to_string(fault.seed));
  variables.insert(variables.end(), fault.more.begin(), fault.more.end());
  return variables;
}

FaultResult run_with_fault(const std::vector<std::string>& words, const Fault& fault) {
  TempDir folder;
  std::vector<std::string> environment = fault_environment(fault);
  environment.push_back("FAULT_REPORT=" + (folder / "report").string());
  FaultResult result;
  static_cast<ProcessResult&>(result) = run_fettle(words, environment);
  if (!std::filesystem::exists(folder / "report")) return result;
  std::istringstream lines(read_text(folder / "report"));
  for (std::string line; std::getline(lines, line);) {
    std::istringstream parts(line);
    std::string what;
    parts >> what;
    if (what == "counted") parts >> result.counted;
    if (what == "allocations") parts >> result.allocations;
    if (what != "struck") continue;
    if (result.struck++ == 0) parts >> result.operation >> result.path;
  }
  return result;
}

bool try_all_faults() {
  const char* wanted = std::getenv("FETTLE_FAULTS");
  return wanted && std::string(wanted) == "all";
}
long fault_stride(long count, long few) {
  return try_all_faults() ? 1 : std::max(1L, count / few);
}

Running::Running(const std::vector<std::string>& words, const std::vector<std::string>& environment) {
  std::vector<std::string> all = {fettle_binary().string()};
  all.insert(all.end(), words.begin(), words.end());
  std::vector<char*> arguments, variables;
  for (std::string& word : all) arguments.push_back(word.data());
  arguments.push_back(nullptr);
  std::vector<std::string> own = environment;
  for (std::string& variable : own) variables.push_back(variable.data());
  for (char** variable = environ; *variable; ++variable) variables.push_back(*variable);
  variables.push_back(nullptr);
  posix_spawn_file_actions_t files;
  posix_spawn_file_actions_init(&files);
  const std::string out = (files_ / "out").string(), err = (files_ / "err").string();
  posix_spawn_file_actions_addopen(&files, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_addopen(&files, STDOUT_FILENO, out.c_str(), O_WRONLY | O_CREAT, 0600);
  posix_spawn_file_actions_addopen(&files, STDERR_FILENO, err.c_str(), O_WRONLY | O_CREAT, 0600);
  const int failed = posix_spawn(&pid_, arguments[0], &files, nullptr, arguments.data(), variables.data());
  posix_spawn_file_actions_destroy(&files);
  if (failed) throw std::runtime_error("cannot start " + all[0]);
}

Running::~Running() {
  if (pid_ < 0) return;
  ::kill(pid_, SIGKILL);
  ::waitpid(pid_, nullptr, 0);
}

bool Running::wait_for_stop() {
  int status = 0;
  while (::waitpid(pid_, &status, WUNTRACED) < 0) {
  }
  if (WIFSTOPPED(status)) return true;
  pid_ = -1;
  return false;
}

void Running::send(int signal) {
  ::kill(pid_, signal);
}

ProcessResult Running::wait() {
  int status = 0;
  while (pid_ >= 0 && ::waitpid(pid_, &status, 0) < 0) {
  }
  pid_ = -1;
  return {.code = exit_code(status), .out = read_text(files_ / "out"), .err = read_text(files_ / "err")};
}

}  // namespace fettle::test
