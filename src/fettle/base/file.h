// Files: whole reads with a bound, read-only mappings, and writes that are whole or absent.
#pragma once
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>

namespace fettle {

/// Whole content of a regular file. Error(kBadInput) when absent, not a regular file, or above `max_bytes`.
std::string read_file(const std::filesystem::path& path, uint64_t max_bytes = uint64_t{4} << 30);

/// Read-only mapping of a regular file. Copies share the mapping.
class MappedFile {
 public:
  MappedFile() = default;
  explicit MappedFile(const std::filesystem::path& path);
  std::span<const std::byte> bytes() const;
  const std::filesystem::path& path() const;
  uint64_t size() const { return bytes().size(); }
  /// Whole pages inside bytes [begin, end) leave this process's memory until they are read again.
  void forget(uint64_t begin, uint64_t end) const;
  /// Keeps the mapping alive for as long as the pointer lives.
  std::shared_ptr<const void> keep_alive() const { return state_; }

 private:
  struct State;
  std::shared_ptr<State> state_;
};

/// `bytes` of zeroed memory behind a file without a name in `folder`: the system may write it back and drop
/// it when memory is short. Freed with the last owner. Error(kResources) when the disk has no room for all of
/// it.
std::shared_ptr<void> map_scratch_file(const std::filesystem::path& folder, uint64_t bytes);

/// Writes to a temporary sibling and renames on commit(), after fsync of file and folder. Without commit()
/// nothing remains. Write errors: Error(kResources) with the path and the cause.
class AtomicFile {
 public:
  explicit AtomicFile(std::filesystem::path path);
  ~AtomicFile();
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;
  void write(std::span<const std::byte> data);
  void write(std::string_view text) { write(std::as_bytes(std::span(text.data(), text.size()))); }
  void commit();

 private:
  std::filesystem::path path_, temporary_;
  int fd_ = -1;
};

void write_file_atomically(const std::filesystem::path& path, std::string_view text);

/// A copy that is whole or absent.
void copy_file_atomically(const std::filesystem::path& from, const std::filesystem::path& to);

/// Brings a file, or the names in a folder, to the disk. Error(kResources) when that fails.
void sync_path(const std::filesystem::path& path);

/// True when `name` is a plain file name or relative path that stays inside its folder (no "..", not
/// absolute, no NUL).
bool is_contained_path(std::string_view name);

}  // namespace fettle
