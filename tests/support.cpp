#include "support.h"

#include <fcntl.h>
#include <spawn.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fstream>
#include <sstream>
#include <stdexcept>

namespace fettle::test {
namespace fs = std::filesystem;

fs::path source_dir() {
  return FETTLE_SOURCE_DIR;
}
fs::path golden_dir() {
  return source_dir() / "tests" / "golden";
}
fs::path assets_dir() {
  if (const char* env = std::getenv("FETTLE_ASSETS"))
    return fs::is_directory(env) ? fs::path(env) : fs::path();
  fs::path beside = source_dir().parent_path() / "shared" / "assets";
  return fs::is_directory(beside) ? beside : fs::path();
}
TempDir::TempDir() {
  std::string pattern = (fs::temp_directory_path() / "fettle-test-XXXXXX").string();
  if (!mkdtemp(pattern.data())) throw std::runtime_error("cannot create a temporary folder");
  path_ = pattern;
}
TempDir::~TempDir() {
  std::error_code ignored;
  fs::remove_all(path_, ignored);
}
std::string read_text(const fs::path& path) {
  std::ifstream in(path, std::ios::binary);
  if (!in) throw std::runtime_error("cannot open " + path.string());
  std::ostringstream out;
  out << in.rdbuf();
  return out.str();
}
void write_text(const fs::path& path, const std::string& text) {
  fs::create_directories(path.parent_path());
  std::ofstream(path, std::ios::binary) << text;
}

fs::path fettle_binary() {
  return fs::path(FETTLE_BINARY_DIR) / "fettle";
}

ProcessResult run_program(const fs::path& program, const std::vector<std::string>& arguments,
                          const std::vector<std::string>& environment, const std::string& input) {
  // Files rather than pipes: a program that writes much to both can never block.
  TempDir folder;
  write_text(folder / "in", input);
  std::vector<std::string> words = {program.string()};
  words.insert(words.end(), arguments.begin(), arguments.end());
  std::vector<std::string> variables = environment;
  for (char** variable = environ; *variable; ++variable) {
    const std::string name = std::string(*variable).substr(0, std::string(*variable).find('=') + 1);
    bool replaced = false;
    for (const std::string& given : environment) replaced = replaced || given.rfind(name, 0) == 0;
    if (!replaced) variables.push_back(*variable);
  }
  auto pointers = [](std::vector<std::string>& texts) {
    std::vector<char*> out;
    for (std::string& text : texts) out.push_back(text.data());
    out.push_back(nullptr);
    return out;
  };
  posix_spawn_file_actions_t files;
  posix_spawn_file_actions_init(&files);
  const std::string in = (folder / "in").string(), out = (folder / "out").string(),
                    err = (folder / "err").string();
  posix_spawn_file_actions_addopen(&files, STDIN_FILENO, in.c_str(), O_RDONLY, 0);
  posix_spawn_file_actions_addopen(&files, STDOUT_FILENO, out.c_str(), O_WRONLY | O_CREAT, 0600);
  posix_spawn_file_actions_addopen(&files, STDERR_FILENO, err.c_str(), O_WRONLY | O_CREAT, 0600);
  pid_t child;
  const int failed = posix_spawn(&child, program.c_str(), &files, nullptr, pointers(words).data(),
                                 pointers(variables).data());
  posix_spawn_file_actions_destroy(&files);
  if (failed) throw std::runtime_error("cannot start " + program.string());
  int status = 0;
  while (waitpid(child, &status, 0) < 0) {
  }
  ProcessResult result;
  result.code = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
  result.out = read_text(folder / "out");
  result.err = read_text(folder / "err");
  return result;
}

}  // namespace fettle::test
