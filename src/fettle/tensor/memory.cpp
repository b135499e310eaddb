#include "fettle/tensor/memory.h"

#include <sys/mman.h>

#include <bit>
#include <cstdlib>
#include <mutex>
#include <unordered_map>
#include <vector>

#include "fettle/base/error.h"

namespace fettle {
namespace {

constexpr size_t kHugePage = size_t{2} << 20;

// Eight classes for each power of two: at most 12.5% of a block is unused.
size_t size_class(size_t bytes) {
  if (bytes <= 512) return (bytes + 63) / 64 * 64;
  size_t step = std::bit_floor(bytes - 1) / 8;
  return (bytes + step - 1) / step * step;
}

}  // namespace

std::string_view memory_kind_name(MemoryKind kind) {
  constexpr std::array<std::string_view, kMemoryKinds> kNames = {"weights",   "adapters",    "gradients",
                                                                 "optimizer", "activations", "workspace"};
  return kNames[static_cast<size_t>(kind)];
}

struct HostMemory::State {
  mutable std::mutex mutex;
  std::unordered_map<size_t, std::vector<void*>> free_blocks;
  MemoryReport report;

  void use(MemoryKind kind, size_t bytes) {
    for (MemoryUse* use : {&report.kinds[static_cast<size_t>(kind)], &report.total}) {
      use->current += bytes;
      use->peak = std::max(use->peak, use->current);
    }
  }
  void trim() {
    for (auto& [size, blocks] : free_blocks)
      for (void* block : blocks) std::free(block);
    free_blocks.clear();
    report.cached = 0;
  }
  ~State() { trim(); }
};

HostMemory::HostMemory() : state_(std::make_shared<State>()) {}

HostMemory& HostMemory::instance() {
  static HostMemory memory;
  return memory;
}

std::shared_ptr<void> HostMemory::allocate(size_t bytes, MemoryKind kind) {
  size_t size = size_class(std::max<size_t>(bytes, 1));
  void* block = nullptr;
  {
    std::lock_guard lock(state_->mutex);
    auto& blocks = state_->free_blocks[size];
    if (!blocks.empty()) {
      block = blocks.back();
      blocks.pop_back();
      state_->report.cached -= size;
    }
  }
  if (!block) {
    size_t alignment = size >= 2 * kHugePage ? kHugePage : 64;
    size_t rounded = (size + alignment - 1) / alignment * alignment;
    block = std::aligned_alloc(alignment, rounded);
    if (!block) {
      // Cached blocks of other sizes may be what is missing.
      std::lock_guard lock(state_->mutex);
      state_->trim();
      block = std::aligned_alloc(alignment, rounded);
    }
    if (!block)
      fail_resources("out of memory: cannot allocate {} MiB for {}; use a smaller batch, cutoff_len or bf16",
                     bytes >> 20, memory_kind_name(kind));
    if (alignment == kHugePage) ::madvise(block, rounded, MADV_HUGEPAGE);
    std::lock_guard lock(state_->mutex);
    ++state_->report.system_calls;
  }
  {
    std::lock_guard lock(state_->mutex);
    state_->use(kind, size);
  }
  return std::shared_ptr<void>(block, [state = state_, size, kind](void* freed) {
    std::lock_guard lock(state->mutex);
    state->report.kinds[static_cast<size_t>(kind)].current -= size;
    state->report.total.current -= size;
    state->report.cached += size;
    state->free_blocks[size].push_back(freed);
  });
}

void HostMemory::account_mapped(int64_t bytes) {
  std::lock_guard lock(state_->mutex);
  state_->report.mapped += static_cast<uint64_t>(bytes);
}
MemoryReport HostMemory::report() const {
  std::lock_guard lock(state_->mutex);
  return state_->report;
}
void HostMemory::reset_peaks() {
  std::lock_guard lock(state_->mutex);
  for (MemoryUse& use : state_->report.kinds) use.peak = use.current;
  state_->report.total.peak = state_->report.total.current;
}
void HostMemory::trim() {
  std::lock_guard lock(state_->mutex);
  state_->trim();
}

}  // namespace fettle
