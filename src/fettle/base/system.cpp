#include "fettle/base/system.h"

#include <fmt/format.h>
#include <sched.h>
#include <sys/resource.h>
#include <sys/statvfs.h>
#include <sys/utsname.h>
#include <unistd.h>
#if defined(__x86_64__)
#include <cpuid.h>
#endif

#include <algorithm>
#include <charconv>
#include <fstream>
#include <sstream>

namespace fettle {
namespace fs = std::filesystem;
namespace {

#if defined(__x86_64__)
// Extended control register 0: the register states that the operating system saves.
uint64_t xcr0() {
  uint32_t low, high;
  __asm__("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return (uint64_t{high} << 32) | low;
}

CpuFeatures detect_features() {
  CpuFeatures found;
  unsigned a, b, c, d;
  if (!__get_cpuid(1, &a, &b, &c, &d)) return found;
  const bool fma = c >> 12 & 1, xsave = c >> 27 & 1, f16c = c >> 29 & 1;
  if (!xsave) return found;
  const uint64_t states = xcr0();
  const bool ymm = (states & 0x6) == 0x6, zmm = (states & 0xE6) == 0xE6,
             tiles = (states & 0x60000) == 0x60000;
  unsigned b7, d7;
  if (!__get_cpuid_count(7, 0, &a, &b7, &c, &d7)) return found;
  found.avx2 = ymm && fma && f16c && (b7 >> 5 & 1);
  found.avx512 = found.avx2 && zmm && (b7 >> 16 & 1) && (b7 >> 17 & 1) && (b7 >> 30 & 1) && (b7 >> 31 & 1);
  unsigned a71 = 0, b71, c71, d71;
  if (__get_cpuid_count(7, 1, &a71, &b71, &c71, &d71)) found.avx512_bf16 = found.avx512 && (a71 >> 5 & 1);
  found.amx_bf16 = found.avx512_bf16 && tiles && (d7 >> 22 & 1) && (d7 >> 24 & 1);
  return found;
}
#else
CpuFeatures detect_features() {
  CpuFeatures found;
#if defined(__aarch64__)
  found.neon = true;
#endif
  return found;
}
#endif

// Value of `key` in a file of "key<separator> value" lines, or "".
std::string line_value(const fs::path& path, std::string_view key, char separator) {
  std::ifstream in(path);
  std::string line;
  while (std::getline(in, line)) {
    if (!line.starts_with(key)) continue;
    const size_t mark = line.find(separator);
    if (mark == line.npos || line.find_first_not_of(" \t", key.size()) != mark) continue;
    const size_t begin = line.find_first_not_of(" \t\"", mark + 1);
    if (begin == line.npos) return "";
    return line.substr(begin, line.find_last_not_of(" \t\"") - begin + 1);
  }
  return "";
}

std::optional<uint64_t> leading_number(std::string_view text) {
  uint64_t value;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end == text.data()) return std::nullopt;
  return value;
}

// A field of /proc/meminfo or /proc/self/status, which count in kB.
uint64_t kilobytes(const char* file, std::string_view key) {
  return leading_number(line_value(file, key, ':')).value_or(0) * 1024;
}

std::optional<uint64_t> number_in(const fs::path& file) {
  std::ifstream in(file);
  std::string text;
  in >> text;  // "max" is no number
  return leading_number(text);
}

struct BoundedMemory {
  uint64_t limit, used;
};

// The tightest limit among this process's control group and its parents (version 2, else version 1).
std::optional<BoundedMemory> group_memory() {
  std::ifstream in("/proc/self/cgroup");
  std::string line;
  std::optional<BoundedMemory> tightest;
  while (std::getline(in, line)) {
    const size_t first = line.find(':'), second = line.find(':', first + 1);
    if (first == line.npos || second == line.npos) continue;
    const std::string controllers = line.substr(first + 1, second - first - 1);
    const bool unified = controllers.empty();
    if (!unified && controllers != "memory") continue;
    const fs::path root = unified ? "/sys/fs/cgroup" : "/sys/fs/cgroup/memory";
    const char* limit_file = unified ? "memory.max" : "memory.limit_in_bytes";
    const char* used_file = unified ? "memory.current" : "memory.usage_in_bytes";
    fs::path group = fs::path(line.substr(second + 1)).relative_path();
    while (true) {
      const auto limit = number_in(root / group / limit_file), used = number_in(root / group / used_file);
      if (limit && used && (!tightest || *limit < tightest->limit)) tightest = BoundedMemory{*limit, *used};
      if (group.empty()) break;
      group = group.parent_path();
    }
  }
  return tightest;
}

// What a limit on the address space (ulimit -v, batch systems) leaves, and the limit.
std::optional<BoundedMemory> address_space() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_AS, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY) return std::nullopt;
  return BoundedMemory{limit.rlim_cur, kilobytes("/proc/self/status", "VmSize")};
}

}  // namespace

std::string CpuFeatures::text() const {
  std::string out;
  auto add = [&](bool present, const char* name) {
    if (present) out += out.empty() ? name : fmt::format(" {}", name);
  };
  add(avx2, "AVX2");
  add(avx512, "AVX-512");
  add(avx512_bf16, "AVX512-BF16");
  add(amx_bf16, "AMX-BF16");
  add(neon, "NEON");
  return out.empty() ? "none" : out;
}

CpuInfo cpu_info() {
  CpuInfo info;
  info.model = line_value("/proc/cpuinfo", "model name", ':');
  if (info.model.empty()) info.model = "unknown";
  info.online_cores = std::max(1, static_cast<int>(::sysconf(_SC_NPROCESSORS_ONLN)));
  cpu_set_t allowed;
  CPU_ZERO(&allowed);
  info.usable_cores =
      ::sched_getaffinity(0, sizeof allowed, &allowed) == 0 ? CPU_COUNT(&allowed) : info.online_cores;
  info.features = detect_features();
  return info;
}

MemoryInfo memory_info() {
  MemoryInfo info;
  info.total = kilobytes("/proc/meminfo", "MemTotal");
  info.available = kilobytes("/proc/meminfo", "MemAvailable");
  for (const auto& bound : {group_memory(), address_space()}) {
    if (!bound || bound->limit >= info.total) continue;
    info.limit = std::min(info.limit.value_or(bound->limit), bound->limit);
    info.available = std::min(info.available, bound->limit > bound->used ? bound->limit - bound->used : 0);
  }
  if (rlimit space{}; ::getrlimit(RLIMIT_AS, &space) == 0 && space.rlim_cur != RLIM_INFINITY) {
    const uint64_t taken = kilobytes("/proc/self/status", "VmSize");
    info.address_space = space.rlim_cur > taken ? space.rlim_cur - taken : 0;
  }
  return info;
}

uint64_t resident_bytes() {
  return kilobytes("/proc/self/status", "VmRSS");
}

uint64_t peak_resident_bytes() {
  rusage usage{};
  return ::getrusage(RUSAGE_SELF, &usage) == 0 ? static_cast<uint64_t>(usage.ru_maxrss) * 1024 : 0;
}

std::optional<uint64_t> disk_free(const fs::path& path) {
  std::error_code failed;
  fs::path existing = fs::absolute(path, failed);
  while (!fs::exists(existing, failed) && existing.has_relative_path()) existing = existing.parent_path();
  struct statvfs info;
  if (::statvfs(existing.c_str(), &info) != 0) return std::nullopt;
  return static_cast<uint64_t>(info.f_bavail) * info.f_frsize;
}

std::string operating_system() {
  std::string name = line_value("/etc/os-release", "PRETTY_NAME", '=');
  utsname kernel{};
  if (::uname(&kernel) != 0) return name.empty() ? "unknown" : name;
  return fmt::format("{}{}{} {}, {}", name, name.empty() ? "" : ", ", kernel.sysname, kernel.release,
                     kernel.machine);
}

}  // namespace fettle
