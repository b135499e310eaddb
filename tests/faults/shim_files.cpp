// File operations that fail at a chosen moment; see shim.h.
#include <dirent.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

#include "shim.h"

namespace shim {
namespace {

struct Plan {
  std::string below, ops, kind, report;
  long at = 0;
  bool lasting = false;
  unsigned seed = 0;
  std::atomic<long> count{0};
};

const char* environment(const char* name) {
  const char* value = std::getenv(name);
  return value ? value : "";
}

Plan& plan() {
  static Plan& plan = *[] {
    Plan* made = new Plan;
    made->below = environment("FAULT_BELOW");
    made->ops = environment("FAULT_OPS");
    if (made->ops.empty()) made->ops = "open,write,fsync,close,rename,mkdir,remove";
    made->kind = environment("FAULT_KIND");
    made->report = environment("FAULT_REPORT");
    made->at = std::atol(environment("FAULT_AT"));
    made->lasting = *environment("FAULT_LASTING") != 0;
    made->seed = static_cast<unsigned>(std::atol(environment("FAULT_SEED")));
    if (made->kind == "power") track_power();
    return made;
  }();
  return plan;
}

thread_local bool inside = false;  // the library's own operations are not looked at
struct Inside {
  Inside() { inside = true; }
  ~Inside() { inside = false; }
};

bool counts(const std::string& operation) {
  return ("," + plan().ops + ",").find("," + operation + ",") != std::string::npos;
}

int number_of(const std::string& kind) {
  struct Name {
    const char* name;
    int number;
  };
  for (const Name& known : {Name{"ENOSPC", ENOSPC},
                            {"EDQUOT", EDQUOT},
                            {"EFBIG", EFBIG},
                            {"EIO", EIO},
                            {"EROFS", EROFS},
                            {"EACCES", EACCES},
                            {"EINTR", EINTR}})
    if (kind == known.name) return known.number;
  return 0;
}

int signal_of(const std::string& kind) {
  struct Name {
    const char* name;
    int number;
  };
  for (const Name& known : {Name{"SIGTERM", SIGTERM},
                            {"SIGINT", SIGINT},
                            {"SIGHUP", SIGHUP},
                            {"SIGUSR1", SIGUSR1},
                            {"SIGSTOP", SIGSTOP},
                            {"SIGKILL", SIGKILL},
                            {"SIGINTx2", SIGINT}})
    if (kind == known.name) return known.number;
  return 0;
}

struct AtExit {
  ~AtExit() {
    Inside guard;
    report("counted " + std::to_string(plan().count.load()));
  }
} at_exit;

}  // namespace

void report(const std::string& line) {
  if (plan().report.empty()) return;
  int fd = static_cast<int>(::syscall(SYS_openat, AT_FDCWD, plan().report.c_str(),
                                      O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600));
  if (fd < 0) return;
  const std::string text = line + "\n";
  (void)!::syscall(SYS_write, fd, text.data(), text.size());
  ::syscall(SYS_close, fd);
}

bool is_below(const std::string& path) {
  const std::string& below = plan().below;
  return below.empty() ||
         (path.compare(0, below.size(), below) == 0 &&
          (path.size() == below.size() || path[below.size()] == '/' || path[below.size()] == '.'));
}

std::string absolute(int folder, const char* path) {
  if (path[0] == '/') return path;
  std::string from;
  if (folder == AT_FDCWD) {
    char buffer[4096];
    from = ::getcwd(buffer, sizeof buffer) ? buffer : "";
  } else {
    from = path_of(folder);
  }
  return from + "/" + path;
}

std::string path_of(int fd) {
  char link[64], target[4096];
  std::snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  ssize_t length = ::readlink(link, target, sizeof target);
  return length > 0 ? std::string(target, static_cast<size_t>(length)) : "";
}

bool kind_is_short() {
  return plan().kind == "short";
}

bool strikes(const char* operation, const std::string& path) {
  if (plan().at == 0 || !counts(operation) || !is_below(path)) return false;
  const long now = ++plan().count;
  if (now < plan().at || (now > plan().at && !plan().lasting)) return false;
  report(std::string("struck ") + operation + " " + path);
  const std::string& kind = plan().kind;
  if (int error = number_of(kind)) {
    errno = error;
    return true;
  }
  if (int signal = signal_of(kind)) {
    ::raise(signal);
    if (kind == "SIGINTx2") ::raise(signal);
    return false;
  }
  if (kind == "vanish") ::rename(plan().below.c_str(), (plan().below + ".gone").c_str());
  if (kind == "power") lose_power(plan().seed);
  return kind == "short";
}

namespace {

bool is_written(int flags) {
  return (flags & O_ACCMODE) != O_RDONLY;
}

int open_at(int folder, const char* path, int flags, mode_t mode) {
  auto call = [&] { return static_cast<int>(::syscall(SYS_openat, folder, path, flags, mode)); };
  if (inside || plan().at == 0 || !path) return call();
  Inside guard;
  const std::string name = absolute(folder, path);
  if ((flags & O_DIRECTORY) || !is_below(name)) return call();
  const char* operation = is_written(flags) ? "open" : "read";
  const bool there = ::access(name.c_str(), F_OK) == 0;
  if (strikes(operation, name) && !kind_is_short()) return -1;
  int fd = call();
  if (fd >= 0 && is_written(flags)) {
    if (!there) note_create(name);
    note_open(fd, !there || (flags & O_TRUNC));
  }
  return fd;
}

// Whether an operation on an open file fails.
bool fails(const char* operation, int fd) {
  if (inside || plan().at == 0) return false;
  Inside guard;
  const std::string path = path_of(fd);
  return !path.empty() && path[0] == '/' && strikes(operation, path);
}

size_t shortened(size_t bytes) {
  return bytes > 1 ? bytes / 2 : bytes;
}

template <typename Function>
Function next(const char* name) {
  return reinterpret_cast<Function>(::dlsym(RTLD_NEXT, name));
}

int remove_at(int folder, const char* path, int flags) {
  auto call = [&] { return static_cast<int>(::syscall(SYS_unlinkat, folder, path, flags)); };
  if (inside || plan().at == 0 || !path) return call();
  Inside guard;
  const std::string name = absolute(folder, path);
  if (!is_below(name)) return call();
  if (strikes("remove", name) && !kind_is_short()) return -1;
  before_remove(name, flags & AT_REMOVEDIR);
  int result = call();
  if (result != 0) note_failed();
  return result;
}

int rename_at(int from_folder, const char* from, int to_folder, const char* to) {
  auto call = [&] { return static_cast<int>(::syscall(SYS_renameat2, from_folder, from, to_folder, to, 0)); };
  if (inside || plan().at == 0 || !from || !to) return call();
  Inside guard;
  const std::string source = absolute(from_folder, from), target = absolute(to_folder, to);
  if (!is_below(source)) return call();
  if (strikes("rename", target) && !kind_is_short()) return -1;
  before_rename(source, target);
  int result = call();
  if (result != 0) note_failed();
  return result;
}

}  // namespace
}  // namespace shim

using namespace shim;

extern "C" {

int open(const char* path, int flags, ...) {
  va_list arguments;
  va_start(arguments, flags);
  mode_t mode = (flags & (O_CREAT | O_TMPFILE)) ? va_arg(arguments, mode_t) : 0;
  va_end(arguments);
  return open_at(AT_FDCWD, path, flags, mode);
}
int open64(const char* path, int flags, ...) {
  va_list arguments;
  va_start(arguments, flags);
  mode_t mode = (flags & (O_CREAT | O_TMPFILE)) ? va_arg(arguments, mode_t) : 0;
  va_end(arguments);
  return open_at(AT_FDCWD, path, flags, mode);
}
int openat(int folder, const char* path, int flags, ...) {
  va_list arguments;
  va_start(arguments, flags);
  mode_t mode = (flags & (O_CREAT | O_TMPFILE)) ? va_arg(arguments, mode_t) : 0;
  va_end(arguments);
  return open_at(folder, path, flags, mode);
}

// stdio writes past this library, so a stream is struck when it is opened.
static FILE* open_stream(const char* name, const char* path, const char* mode) {
  auto real = next<FILE* (*)(const char*, const char*)>(name);
  if (inside || plan().at == 0) return real(path, mode);
  Inside guard;
  const std::string full = absolute(AT_FDCWD, path);
  if (!is_below(full)) return real(path, mode);
  const bool reads = mode[0] == 'r' && !std::strchr(mode, '+'), there = ::access(path, F_OK) == 0;
  if (strikes(reads ? "read" : "open", full) && !kind_is_short()) return nullptr;
  FILE* stream = real(path, mode);
  if (stream && !reads) {
    if (!there) note_create(full);
    note_open(::fileno(stream), !there || mode[0] == 'w');
  }
  return stream;
}
FILE* fopen(const char* path, const char* mode) {
  return open_stream("fopen", path, mode);
}
FILE* fopen64(const char* path, const char* mode) {
  return open_stream("fopen64", path, mode);
}

ssize_t write(int fd, const void* data, size_t bytes) {
  if (fails("write", fd)) {
    if (!kind_is_short()) return -1;
    bytes = shortened(bytes);
  }
  return ::syscall(SYS_write, fd, data, bytes);
}
ssize_t pwrite(int fd, const void* data, size_t bytes, off_t offset) {
  if (fails("write", fd)) {
    if (!kind_is_short()) return -1;
    bytes = shortened(bytes);
  }
  return ::syscall(SYS_pwrite64, fd, data, bytes, offset);
}
ssize_t pwrite64(int fd, const void* data, size_t bytes, off_t offset) {
  return pwrite(fd, data, bytes, offset);
}
ssize_t writev(int fd, const struct iovec* parts, int count) {
  if (fails("write", fd) && !kind_is_short()) return -1;
  return ::syscall(SYS_writev, fd, parts, count);
}
ssize_t sendfile(int out, int in, off_t* offset, size_t bytes) {
  if (fails("write", out)) {
    if (!kind_is_short()) return -1;
    bytes = shortened(bytes);
  }
  return ::syscall(SYS_sendfile, out, in, offset, bytes);
}
ssize_t sendfile64(int out, int in, off_t* offset, size_t bytes) {
  return sendfile(out, in, offset, bytes);
}
int ftruncate(int fd, off_t bytes) {
  if (fails("write", fd) && !kind_is_short()) return -1;
  return static_cast<int>(::syscall(SYS_ftruncate, fd, bytes));
}
int ftruncate64(int fd, off_t bytes) {
  return ftruncate(fd, bytes);
}
int fsync(int fd) {
  if (fails("fsync", fd) && !kind_is_short()) return -1;
  int result = static_cast<int>(::syscall(SYS_fsync, fd));
  if (result == 0 && !inside && plan().at != 0) {
    Inside guard;
    note_sync(fd);
  }
  return result;
}
int fdatasync(int fd) {
  return fsync(fd);
}
// The file is closed in any case, as Linux does it.
int close(int fd) {
  int flags = inside || plan().at == 0 ? O_RDONLY : ::fcntl(fd, F_GETFL);
  bool failed = flags >= 0 && is_written(flags) && fails("close", fd) && !kind_is_short();
  int error = errno;
  int result = static_cast<int>(::syscall(SYS_close, fd));
  if (!failed) return result;
  errno = error;
  return -1;
}
int rename(const char* from, const char* to) {
  return rename_at(AT_FDCWD, from, AT_FDCWD, to);
}
int renameat(int from_folder, const char* from, int to_folder, const char* to) {
  return rename_at(from_folder, from, to_folder, to);
}
int unlink(const char* path) {
  return remove_at(AT_FDCWD, path, 0);
}
int unlinkat(int folder, const char* path, int flags) {
  return remove_at(folder, path, flags);
}
int rmdir(const char* path) {
  return remove_at(AT_FDCWD, path, AT_REMOVEDIR);
}
int remove(const char* path) {
  struct stat info;
  return remove_at(AT_FDCWD, path, ::lstat(path, &info) == 0 && S_ISDIR(info.st_mode) ? AT_REMOVEDIR : 0);
}
int mkdir(const char* path, mode_t mode) {
  auto call = [&] { return static_cast<int>(::syscall(SYS_mkdirat, AT_FDCWD, path, mode)); };
  if (inside || plan().at == 0) return call();
  Inside guard;
  const std::string name = absolute(AT_FDCWD, path);
  if (strikes("mkdir", name) && !kind_is_short()) return -1;
  int result = call();
  if (result == 0 && is_below(name)) note_mkdir(name);
  return result;
}

int statvfs(const char* path, struct statvfs* info) {
  int result = next<int (*)(const char*, struct statvfs*)>("statvfs")(path, info);
  if (const char* free = std::getenv("FAULT_FREE"); free && result == 0)
    info->f_bavail = static_cast<fsblkcnt_t>(std::atoll(free)) / info->f_frsize;
  return result;
}

}  // extern "C"
