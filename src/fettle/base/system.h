// The machine this process runs on: processor, memory, disk.
#pragma once
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>

namespace fettle {

/// Instruction sets that the processor has and the operating system has switched on.
struct CpuFeatures {
  bool avx2 = false;         ///< with FMA and F16C
  bool avx512 = false;       ///< F, BW, DQ, VL
  bool avx512_bf16 = false;  ///< dot products of bf16
  bool amx_bf16 = false;     ///< tiles of bf16
  bool neon = false;
  /// "AVX2 AVX-512 AVX512-BF16", or "none".
  std::string text() const;
};

struct CpuInfo {
  std::string model;     ///< as the processor calls itself; "unknown" when it does not say
  int online_cores = 1;  ///< logical cores of the machine
  int usable_cores = 1;  ///< those this process may run on (affinity)
  CpuFeatures features;
};
CpuInfo cpu_info();

struct MemoryInfo {
  uint64_t total = 0;      ///< of the machine, bytes
  uint64_t available = 0;  ///< without swapping, and within `limit`
  /// Limit of this process (its control group, or its address space), when it is below `total`.
  std::optional<uint64_t> limit;
  /// Address space that this process may still take (ulimit -v), when that is limited.
  std::optional<uint64_t> address_space;
};
MemoryInfo memory_info();

/// Bytes of this process in memory now, and at most so far. 0 when the system does not say.
uint64_t resident_bytes();
uint64_t peak_resident_bytes();

/// Bytes that this user may still write where `path` is or would be; nullopt when that cannot be told.
std::optional<uint64_t> disk_free(const std::filesystem::path& path);

/// "Debian GNU/Linux 12 (bookworm), Linux 6.1.0, x86_64".
std::string operating_system();

}  // namespace fettle
