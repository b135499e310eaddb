// XXH3-128 of what runs and files are known by again. Not for secrets.
#pragma once
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>

namespace fettle {

/// Of pieces that come one after another.
class Hash {
 public:
  Hash();
  ~Hash();
  void add(const void* data, size_t bytes);
  void add_count(uint64_t count) { add(&count, sizeof count); }
  /// 32 hexadecimal digits.
  std::string text() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

/// Of a whole file, which does not stay in memory.
std::string file_hash(const std::filesystem::path& path);

}  // namespace fettle
