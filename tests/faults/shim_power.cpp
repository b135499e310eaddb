// A loss of power: of every change of names since a folder was last synced only a beginning stays, and of
// what was written to a file since it was last synced nothing is sure: it is there, cut, zeroed or missing.
#include <dirent.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <map>
#include <mutex>
#include <random>
#include <vector>

#include "shim.h"

namespace shim {
namespace fs = std::filesystem;
namespace {

struct NameChange {
  enum Kind { kCreate, kMkdir, kRename, kRemove, kRmdir } kind;
  std::string from, to;  // `to` of a rename
  std::string backup;    // what was removed or replaced
  bool lasts = false;    // its folder was synced
  std::string folder() const { return fs::path(from).parent_path().string(); }
};

struct Record {
  std::mutex mutex;
  std::vector<NameChange> changes;
  std::map<ino_t, uint64_t> synced;  // bytes of a file that are on the disk
  int backups = 0;
};
Record* record = nullptr;

std::string keep_backup(const std::string& path) {
  struct stat info;
  if (::lstat(path.c_str(), &info) != 0 || !S_ISREG(info.st_mode)) return "";
  const fs::path folder = std::string(std::getenv("FAULT_BELOW")) + ".lost";
  fs::create_directories(folder);
  fs::path backup = folder / std::to_string(record->backups++);
  return ::link(path.c_str(), backup.c_str()) == 0 ? backup.string() : "";
}

void add(NameChange change) {
  std::lock_guard lock(record->mutex);
  record->changes.push_back(std::move(change));
}

// Where a name of the time before change `since` stands now, renames that stay being followed.
std::string moved(std::string path, size_t since, const std::vector<bool>& stays) {
  for (size_t i = since + 1; i < record->changes.size(); ++i) {
    const NameChange& change = record->changes[i];
    if (change.kind != NameChange::kRename || !stays[i]) continue;
    if (path.compare(0, change.from.size(), change.from) == 0 &&
        (path.size() == change.from.size() || path[change.from.size()] == '/'))
      path = change.to + path.substr(change.from.size());
  }
  return path;
}

void undo(size_t index, const std::vector<bool>& stays) {
  const NameChange& change = record->changes[index];
  const std::string from = moved(change.from, index, stays);
  std::error_code ignored;
  switch (change.kind) {
    case NameChange::kCreate:
    case NameChange::kMkdir:
      fs::remove_all(from, ignored);
      break;
    case NameChange::kRmdir:
      fs::create_directory(from, ignored);
      break;
    case NameChange::kRemove:
      if (!change.backup.empty()) fs::rename(change.backup, from, ignored);
      break;
    case NameChange::kRename: {
      const std::string to = moved(change.to, index, stays);
      fs::rename(to, from, ignored);
      if (!change.backup.empty()) fs::rename(change.backup, to, ignored);
      break;
    }
  }
}

void damage(const fs::path& path, uint64_t synced, std::mt19937& random) {
  std::error_code ignored;
  const uint64_t size = fs::file_size(path, ignored);
  if (size <= synced) return;
  const uint64_t cut = synced + random() % (size - synced + 1);
  switch (random() % 4) {
    case 0:
      break;
    case 1:
      fs::resize_file(path, cut, ignored);
      break;
    case 2:
      fs::resize_file(path, synced, ignored);
      break;
    case 3:  // the length is on the disk, the content is not
      fs::resize_file(path, cut, ignored);
      fs::resize_file(path, size, ignored);
  }
}

}  // namespace

void track_power() {
  if (!record) record = new Record;
}
void note_create(const std::string& path) {
  if (record) add({.kind = NameChange::kCreate, .from = path, .to = {}, .backup = {}});
}
void note_mkdir(const std::string& path) {
  if (record) add({.kind = NameChange::kMkdir, .from = path, .to = {}, .backup = {}});
}
void before_remove(const std::string& path, bool folder) {
  if (!record) return;
  add({.kind = folder ? NameChange::kRmdir : NameChange::kRemove,
       .from = path,
       .to = {},
       .backup = folder ? "" : keep_backup(path)});
}
void before_rename(const std::string& from, const std::string& to) {
  if (record) add({.kind = NameChange::kRename, .from = from, .to = to, .backup = keep_backup(to)});
}
void note_failed() {
  if (!record) return;
  std::lock_guard lock(record->mutex);
  record->changes.pop_back();
}
void note_open(int fd, bool truncated) {
  if (!record) return;
  struct stat info;
  if (::fstat(fd, &info) != 0) return;
  std::lock_guard lock(record->mutex);
  if (truncated)
    record->synced[info.st_ino] = 0;
  else
    record->synced.emplace(info.st_ino, info.st_size);
}
void note_sync(int fd) {
  if (!record) return;
  struct stat info;
  if (::fstat(fd, &info) != 0) return;
  std::lock_guard lock(record->mutex);
  if (!S_ISDIR(info.st_mode)) {
    record->synced[info.st_ino] = static_cast<uint64_t>(info.st_size);
    return;
  }
  const std::string folder = path_of(fd);
  for (NameChange& change : record->changes) change.lasts = change.lasts || change.folder() == folder;
}

void lose_power(unsigned seed) {
  std::mt19937 random(seed);
  std::lock_guard lock(record->mutex);
  const auto& changes = record->changes;
  // Of each folder's changes that were not synced a random number stay, the first ones.
  std::map<std::string, std::vector<size_t>> open;
  std::vector<bool> stays(changes.size(), true);
  for (size_t i = 0; i < changes.size(); ++i)
    if (!changes[i].lasts) open[changes[i].folder()].push_back(i);
  for (const auto& [folder, list] : open)
    for (size_t i = random() % (list.size() + 1); i < list.size(); ++i) stays[list[i]] = false;
  for (size_t i = changes.size(); i-- > 0;)
    if (!stays[i]) undo(i, stays);
  std::error_code error;
  for (const fs::directory_entry& entry :
       fs::recursive_directory_iterator(std::getenv("FAULT_BELOW"), error)) {
    struct stat info;
    if (::lstat(entry.path().c_str(), &info) != 0 || !S_ISREG(info.st_mode)) continue;
    if (auto found = record->synced.find(info.st_ino); found != record->synced.end())
      damage(entry.path(), found->second, random);
  }
  ::kill(::getpid(), SIGKILL);
  ::_exit(255);
}

}  // namespace shim
