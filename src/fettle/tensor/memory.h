// Memory of tensors: a caching pool with an account for each kind of use.
#pragma once
#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string_view>

namespace fettle {

enum class MemoryKind : uint8_t { kWeights, kAdapters, kGradients, kOptimizer, kActivations, kWorkspace };
inline constexpr size_t kMemoryKinds = 6;
std::string_view memory_kind_name(MemoryKind kind);

struct MemoryUse {
  uint64_t current = 0;  ///< bytes in live tensors
  uint64_t peak = 0;     ///< largest `current` since the last reset_peaks()
};

struct MemoryReport {
  std::array<MemoryUse, kMemoryKinds> kinds;
  MemoryUse total;            ///< live tensors of all kinds; its peak is the peak of the sum
  uint64_t cached = 0;        ///< freed blocks kept for reuse
  uint64_t mapped = 0;        ///< weights that live in file mappings (shared, clean pages)
  uint64_t system_calls = 0;  ///< blocks ever taken from the system: flat once a loop has warmed up
};

/// Host memory. Blocks are 64-byte aligned (2 MiB with huge pages advised from 4 MiB up) and return to
/// size-class lists, so a training step after the first takes nothing from the system. Thread safe.
class HostMemory {
 public:
  static HostMemory& instance();
  /// Error(kResources) naming the size when the system has no more.
  std::shared_ptr<void> allocate(size_t bytes, MemoryKind kind);
  void account_mapped(int64_t bytes);
  MemoryReport report() const;
  void reset_peaks();
  /// Gives cached blocks back to the system.
  void trim();

 private:
  HostMemory();
  struct State;
  std::shared_ptr<State> state_;
};

}  // namespace fettle
