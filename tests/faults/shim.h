// What the parts of the preloaded library share. It makes the system fail at a chosen moment, as the
// environment says:
//   FAULT_BELOW=/folder      only files below it (or it) are looked at
//   FAULT_OPS=write,fsync    which operations count: open (for writing), write, fsync, close, rename, mkdir,
//   remove;
//                            default: all these; read is opening for reading
//   FAULT_AT=n               the n-th of them is struck
//   FAULT_KIND=ENOSPC        … by an error (ENOSPC, EDQUOT, EFBIG, EIO, EROFS, EACCES, EINTR), a short write
//   (short), a
//                            signal to this process (SIGTERM …; SIGINTx2 is two), the folder renamed to
//                            folder.gone (vanish), or a loss of power: what was not synced is damaged, the
//                            process dies (power)
//   FAULT_LASTING=1          … and so is every one after it
//   FAULT_SEED=s             of what a loss of power damages
//   FAULT_REPORT=file        gets a line "struck OPERATION PATH" each, and at exit "counted N"
//   FAULT_FREE=bytes         what statvfs() says is free
//   FAULT_CLOCK=n:seconds    from the n-th look at the wall clock on it is so many seconds off
//   FAULT_MEMORY=n           the n-th allocation of at least FAULT_MEMORY_FROM bytes fails; FAULT_LASTING as
//   above; the report
//                            gets "allocations N" when main() returns
#pragma once
#include <string>

namespace shim {

/// `path` is made to fail now: errno is set (or the process is signalled, and it is false).
bool strikes(const char* operation, const std::string& path);
/// The fault is a short write.
bool kind_is_short();
bool is_below(const std::string& path);
std::string absolute(int folder, const char* path);
std::string path_of(int fd);
void report(const std::string& line);

// Bookkeeping for the loss of power; without effect for other kinds.
void note_create(const std::string& path);
void note_open(int fd, bool truncated);
void note_sync(int fd);
void note_mkdir(const std::string& path);
void before_remove(const std::string& path, bool folder);
void before_rename(const std::string& from, const std::string& to);
/// The last noted change of a name did not happen after all.
void note_failed();
[[noreturn]] void lose_power(unsigned seed);
void track_power();

}  // namespace shim
