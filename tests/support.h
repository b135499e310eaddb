// Where tests find their files.
#pragma once
#include <filesystem>
#include <string>
#include <vector>

namespace fettle::test {

/// Root of the source tree.
std::filesystem::path source_dir();
/// Fixtures made by the reference implementations: tests/golden.
std::filesystem::path golden_dir();
/// The optional folder of real tokenizers, data sets and small models: $FETTLE_ASSETS, else shared/assets
/// beside the source tree. Empty path when absent.
std::filesystem::path assets_dir();
/// A fresh empty folder, removed when the object dies.
class TempDir {
 public:
  TempDir();
  ~TempDir();
  TempDir(const TempDir&) = delete;
  TempDir& operator=(const TempDir&) = delete;
  const std::filesystem::path& path() const { return path_; }
  std::filesystem::path operator/(const std::string& name) const { return path_ / name; }

 private:
  std::filesystem::path path_;
};
std::string read_text(const std::filesystem::path& path);
void write_text(const std::filesystem::path& path, const std::string& text);

/// The program under test: fettle in the build folder.
std::filesystem::path fettle_binary();
/// What became of a program.
struct ProcessResult {
  int code = -1;  ///< exit status, or 128 + signal
  std::string out, err;
};
/// Runs a program to its end, without a shell. `environment` ("NAME=value") is added to this process's own;
/// `input` is what it reads.
ProcessResult run_program(const std::filesystem::path& program, const std::vector<std::string>& arguments,
                          const std::vector<std::string>& environment = {}, const std::string& input = "");
inline ProcessResult run_fettle(const std::vector<std::string>& arguments,
                                const std::vector<std::string>& environment = {},
                                const std::string& input = "") {
  return run_program(fettle_binary(), arguments, environment, input);
}

}  // namespace fettle::test

/// Skips a test, with the reason, when the asset folder is absent.
#define FETTLE_REQUIRE_ASSETS()             \
  if (::fettle::test::assets_dir().empty()) \
  GTEST_SKIP() << "no assets folder (shared/assets beside the sources)"
