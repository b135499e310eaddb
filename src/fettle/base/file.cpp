#include "fettle/base/file.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <map>
#include <mutex>
#include <utility>
#include <vector>

#include "fettle/base/error.h"
#include "fettle/base/mapped_pages.h"

namespace fettle {
namespace fs = std::filesystem;
namespace {

struct Descriptor {
  int fd = -1;
  ~Descriptor() {
    if (fd >= 0) ::close(fd);
  }
};

// O_NONBLOCK keeps a FIFO from blocking the open; fstat then refuses it.
uint64_t open_regular(const fs::path& path, Descriptor& file) {
  file.fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (file.fd < 0) {
    if (errno == ENOENT) fail_input("{}: no such file", path.string());
    fail_input("{}: cannot open: {}", path.string(), std::strerror(errno));
  }
  struct stat info;
  if (::fstat(file.fd, &info) != 0) fail_input("{}: cannot stat: {}", path.string(), std::strerror(errno));
  if (!S_ISREG(info.st_mode))
    fail_input("{}: is {}, expected a regular file", path.string(),
               S_ISDIR(info.st_mode) ? "a folder" : "a special file");
  return static_cast<uint64_t>(info.st_size);
}

// A signal that is not to end a call is no reason to fail.
template <typename Call>
auto uninterrupted(Call call) {
  auto result = call();
  while (result < 0 && errno == EINTR) result = call();
  return result;
}

}  // namespace

void sync_path(const fs::path& path) {
  Descriptor file;
  file.fd = uninterrupted([&] { return ::open(path.empty() ? "." : path.c_str(), O_RDONLY | O_CLOEXEC); });
  if (file.fd >= 0 && uninterrupted([&] { return ::fsync(file.fd); }) == 0) return;
  // Network and user-space file systems may not know how to sync a folder; there is nothing else to be done.
  if (file.fd >= 0 && (errno == EINVAL || errno == ENOTSUP || errno == EROFS)) return;
  fail_resources("{}: cannot bring it to the disk: {}", path.string(), std::strerror(errno));
}

std::string read_file(const fs::path& path, uint64_t max_bytes) {
  Descriptor file;
  uint64_t size = open_regular(path, file);
  if (size > max_bytes) fail_input("{}: {} bytes, above the limit of {}", path.string(), size, max_bytes);
  std::string text;
  text.reserve(size);
  // Files under /proc say size 0, so the end is where read() says it is.
  char buffer[1 << 16];
  while (true) {
    ssize_t n = ::read(file.fd, buffer, sizeof buffer);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) fail_input("{}: read error: {}", path.string(), std::strerror(errno));
    if (n == 0) break;
    text.append(buffer, static_cast<size_t>(n));
    if (text.size() > max_bytes) fail_input("{}: above the limit of {} bytes", path.string(), max_bytes);
  }
  return text;
}

namespace {

struct Mapping {
  size_t size;
  const char* path;
};
// Where files are mapped now, by their first address.
struct Mappings {
  std::mutex mutex;
  std::map<uintptr_t, Mapping> all;
};
Mappings& mappings() {
  static Mappings mappings;
  return mappings;
}

// A file that is cut while it is mapped, or whose disk fails, ends a read of memory with SIGBUS. No lock is
// taken here: the thread that holds it never reads a mapping meanwhile.
void on_bus_error(int, siginfo_t* info, void*) {
  const uintptr_t at = reinterpret_cast<uintptr_t>(info->si_addr);
  for (const auto& [begin, mapping] : mappings().all) {
    if (at < begin || at - begin >= mapping.size) continue;
    for (const char* part :
         {"error: ", mapping.path,
          ": the file was changed or cut while it was in use, or its disk failed; restore it "
          "and start again\n"})
      (void)!::write(STDERR_FILENO, part, std::strlen(part));
    ::_exit(static_cast<int>(ExitCode::kBadInput));
  }
  // Not ours: the default action follows when the read is tried again.
}

void name_bus_errors() {
  static const bool installed = [] {
    struct sigaction action = {};
    action.sa_sigaction = on_bus_error;
    action.sa_flags = SA_SIGINFO | SA_RESETHAND;
    sigemptyset(&action.sa_mask);
    return ::sigaction(SIGBUS, &action, nullptr) == 0;
  }();
  (void)installed;
}

void drop_pages(uintptr_t begin, uintptr_t end) {
  const uintptr_t page = static_cast<uintptr_t>(::sysconf(_SC_PAGESIZE));
  begin = (begin + page - 1) / page * page;
  end = end / page * page;
  if (begin < end) ::madvise(reinterpret_cast<void*>(begin), end - begin, MADV_DONTNEED);
}

}  // namespace

bool in_mapped_file(const void* data) {
  const uintptr_t at = reinterpret_cast<uintptr_t>(data);
  std::lock_guard lock(mappings().mutex);
  auto after = mappings().all.upper_bound(at);
  if (after == mappings().all.begin()) return false;
  const auto& [begin, mapping] = *std::prev(after);
  return at - begin < mapping.size;
}

void forget_mapped_pages(const void* data, size_t bytes) {
  const uintptr_t begin = reinterpret_cast<uintptr_t>(data);
  if (bytes > 0 && in_mapped_file(data)) drop_pages(begin, begin + bytes);
}

struct MappedFile::State {
  fs::path path;
  void* data = nullptr;
  size_t size = 0;
  ~State() {
    if (!data) return;
    {
      std::lock_guard lock(mappings().mutex);
      mappings().all.erase(reinterpret_cast<uintptr_t>(data));
    }
    ::munmap(data, size);
  }
};

MappedFile::MappedFile(const fs::path& path) : state_(std::make_shared<State>()) {
  Descriptor file;
  state_->path = path;
  state_->size = open_regular(path, file);
  if (state_->size == 0) return;
  void* data = ::mmap(nullptr, state_->size, PROT_READ, MAP_PRIVATE, file.fd, 0);
  if (data == MAP_FAILED) {
    fail_resources("{}: cannot map {} bytes: {}", path.string(), std::exchange(state_->size, 0),
                   std::strerror(errno));
  }
  state_->data = data;
  name_bus_errors();
  std::lock_guard lock(mappings().mutex);
  mappings().all[reinterpret_cast<uintptr_t>(data)] = {state_->size, state_->path.c_str()};
}
std::span<const std::byte> MappedFile::bytes() const {
  if (!state_) return {};
  return {static_cast<const std::byte*>(state_->data), state_->size};
}
void MappedFile::forget(uint64_t begin, uint64_t end) const {
  if (!state_ || !state_->data) return;
  const uintptr_t at = reinterpret_cast<uintptr_t>(state_->data);
  drop_pages(at + begin, at + std::min<uint64_t>(end, state_->size));
}
const fs::path& MappedFile::path() const {
  FETTLE_CHECK(state_, "no file is mapped");
  return state_->path;
}

std::shared_ptr<void> map_scratch_file(const fs::path& folder, uint64_t bytes) {
  std::string name = (folder / "scratch-XXXXXX").string();
  Descriptor file;
  file.fd = ::mkstemp(name.data());
  if (file.fd < 0) fail_resources("{}: cannot create: {}", name, std::strerror(errno));
  ::unlink(name.c_str());
  bytes = std::max<uint64_t>(bytes, 1);
  // Without room on the disk a later write into the mapping would kill the process.
  if (int error = ::posix_fallocate(file.fd, 0, static_cast<off_t>(bytes)); error != 0)
    fail_resources("{}: no room for {} bytes of paged state: {}", folder.string(), bytes,
                   std::strerror(error));
  void* data = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, file.fd, 0);
  if (data == MAP_FAILED)
    fail_resources("{}: cannot map {} bytes: {}", folder.string(), bytes, std::strerror(errno));
  return {data, [bytes](void* memory) { ::munmap(memory, bytes); }};
}

AtomicFile::AtomicFile(fs::path path) : path_(std::move(path)) {
  temporary_ = path_;
  temporary_ += fmt::format(".{}.tmp", ::getpid());
  fd_ = uninterrupted(
      [&] { return ::open(temporary_.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644); });
  if (fd_ < 0) fail_resources("{}: cannot create: {}", temporary_.string(), std::strerror(errno));
}
AtomicFile::~AtomicFile() {
  if (fd_ >= 0) {
    ::close(fd_);
    ::unlink(temporary_.c_str());
  }
}
void AtomicFile::write(std::span<const std::byte> data) {
  const std::byte* at = data.data();
  size_t left = data.size();
  while (left > 0) {
    ssize_t n = uninterrupted([&] { return ::write(fd_, at, std::min<size_t>(left, size_t{1} << 30)); });
    if (n <= 0)
      fail_resources("{}: write failed: {}", path_.string(), std::strerror(n == 0 ? ENOSPC : errno));
    at += n;
    left -= static_cast<size_t>(n);
  }
  // Whole runs go to the disk while the next bytes are made, so that fsync(), which still says whether all
  // arrived, finds little to do.
  constexpr off_t kRun = 32 << 20;
  const off_t position = ::lseek(fd_, 0, SEEK_CUR), end = position / kRun * kRun,
              begin = (position - static_cast<off_t>(data.size())) / kRun * kRun;
  if (begin < end) ::sync_file_range(fd_, begin, end - begin, SYNC_FILE_RANGE_WRITE);
}
void AtomicFile::commit() {
  if (uninterrupted([&] { return ::fsync(fd_); }) != 0)
    fail_resources("{}: fsync failed: {}", path_.string(), std::strerror(errno));
  int fd = std::exchange(fd_, -1);
  // After EINTR the file is closed all the same.
  if ((::close(fd) != 0 && errno != EINTR) || ::rename(temporary_.c_str(), path_.c_str()) != 0) {
    int cause = errno;
    ::unlink(temporary_.c_str());
    fail_resources("{}: cannot finish writing: {}", path_.string(), std::strerror(cause));
  }
  sync_path(path_.parent_path());
}

void write_file_atomically(const fs::path& path, std::string_view text) {
  AtomicFile file(path);
  file.write(text);
  file.commit();
}

void copy_file_atomically(const fs::path& from, const fs::path& to) {
  Descriptor file;
  open_regular(from, file);
  AtomicFile copy(to);
  std::vector<std::byte> buffer(size_t{1} << 20);
  while (true) {
    ssize_t n = uninterrupted([&] { return ::read(file.fd, buffer.data(), buffer.size()); });
    if (n < 0) fail_input("{}: read error: {}", from.string(), std::strerror(errno));
    if (n == 0) break;
    copy.write(std::span(buffer.data(), static_cast<size_t>(n)));
  }
  copy.commit();
}

bool is_contained_path(std::string_view name) {
  if (name.empty() || name.find('\0') != name.npos) return false;
  fs::path path{std::string(name)};
  if (path.is_absolute()) return false;
  for (const fs::path& part : path)
    if (part == "..") return false;
  return true;
}

}  // namespace fettle
