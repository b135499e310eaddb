#include "support.h"

#include <stdlib.h>

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
  if (const char* env = std::getenv("FETTLE_ASSETS")) return fs::is_directory(env) ? fs::path(env) : fs::path();
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

}  // namespace fettle::test
