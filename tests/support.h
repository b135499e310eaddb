// Where tests find their files.
#pragma once
#include <filesystem>
#include <string>

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

}  // namespace fettle::test

/// Skips a test, with the reason, when the asset folder is absent.
#define FETTLE_REQUIRE_ASSETS()                                                             \
  if (::fettle::test::assets_dir().empty()) GTEST_SKIP() << "no assets folder (shared/assets beside the sources)"
