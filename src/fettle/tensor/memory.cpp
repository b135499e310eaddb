#include "fettle/tensor/memory.h"

#include <malloc.h>
#include <sys/mman.h>

#include <bit>
#include <cstdlib>
#include <mutex>
#include <new>
#include <unordered_map>
#include <utility>
#include <vector>

#include "fettle/base/error.h"
#include "fettle/base/terminal.h"
#include "fettle/tensor/arena.h"
#include "fettle/tensor/rehearsal.h"

namespace fettle {
namespace {

constexpr size_t kPage = 4096, kHugePage = size_t{2} << 20;
constexpr size_t kMapped = size_t{1} << 18;      ///< blocks from here on are mappings of their own
constexpr size_t kArenaBlock = size_t{1} << 16;  ///< activations from here on lie in the arena

constexpr size_t rounded(size_t bytes, size_t unit) {
  return (bytes + unit - 1) / unit * unit;
}

// Eight classes for each power of two: at most 12.5% of a block is unused.
size_t size_class(size_t bytes) {
  if (bytes <= 512) return (bytes + 63) / 64 * 64;
  size_t step = std::bit_floor(bytes - 1) / 8;
  return (bytes + step - 1) / step * step;
}

// What tensors of one account live in: activations of some size in the arena, everything else in blocks that
// are kept by size when they are freed.
struct Pool {
  explicit Pool(bool only_rehearses) : rehearsal(only_rehearses), arena(only_rehearses) {}
  Pool(const Pool&) = delete;
  Pool& operator=(const Pool&) = delete;
  ~Pool() { trim(); }

  struct Block {
    void* data = nullptr;
    size_t size = 0;     ///< of its class
    size_t touched = 0;  ///< of it, what tensors have used so far
  };

  // From the system; null when it has no more. Large blocks are mappings, so that they go back for certain.
  Block take(size_t size) const {
    if (!rehearsal && size < kMapped) return {std::aligned_alloc(64, size), size, 0};
    const size_t alignment = size >= 2 * kHugePage ? kHugePage : kPage;
    const size_t bytes = rounded(size, alignment);
    const int flags = MAP_PRIVATE | MAP_ANONYMOUS | (rehearsal ? MAP_NORESERVE : 0);
    void* mapping = ::mmap(nullptr, bytes + alignment - kPage, PROT_READ | PROT_WRITE, flags, -1, 0);
    if (mapping == MAP_FAILED) return {};
    // What lies before and behind the aligned part goes back.
    const uintptr_t begin = reinterpret_cast<uintptr_t>(mapping), aligned = rounded(begin, alignment);
    if (aligned > begin) ::munmap(mapping, aligned - begin);
    const uintptr_t end = begin + bytes + alignment - kPage;
    if (end > aligned + bytes) ::munmap(reinterpret_cast<void*>(aligned + bytes), end - aligned - bytes);
    void* data = reinterpret_cast<void*>(aligned);
    if (alignment == kHugePage && !rehearsal) ::madvise(data, bytes, MADV_HUGEPAGE);
    return {data, size, 0};
  }

  void give_back(const Block& block) {
    hold(-static_cast<int64_t>(pages(block.touched)));
    if (!rehearsal && block.size < kMapped)
      std::free(block.data);
    else
      ::munmap(block.data, rounded(block.size, block.size >= 2 * kHugePage ? kHugePage : kPage));
  }

  void trim() {
    const size_t before = arena.held();
    arena.trim();
    hold(static_cast<int64_t>(arena.held()) - static_cast<int64_t>(before));
    for (auto& [size, blocks] : free_blocks)
      for (const Block& block : blocks) give_back(block);
    free_blocks.clear();
    report.cached = 0;
  }

  void use(MemoryKind kind, size_t bytes) {
    for (MemoryUse* use : {&report.kinds[static_cast<size_t>(kind)], &report.total}) {
      use->current += bytes;
      use->peak = std::max(use->peak, use->current);
    }
  }
  void hold(int64_t bytes) {
    held.current += static_cast<uint64_t>(bytes);
    held.peak = std::max(held.peak, held.current);
  }
  // A tensor uses the first `bytes` of the block.
  void touch(Block& block, size_t bytes) {
    if (bytes <= block.touched) return;
    hold(static_cast<int64_t>(pages(bytes)) - static_cast<int64_t>(pages(block.touched)));
    block.touched = bytes;
  }
  static size_t pages(size_t bytes) {
    return bytes < kPage ? bytes : rounded(bytes, bytes >= 2 * kHugePage ? kHugePage : kPage);
  }

  // Null: not a tensor for the arena, or it is used up.
  void* from_arena(size_t bytes, MemoryKind kind) {
    if (kind != MemoryKind::kActivations || bytes < kArenaBlock) return nullptr;
    const size_t before = arena.held();
    void* block = arena.allocate(bytes);
    hold(static_cast<int64_t>(arena.held() - before));
    return block;
  }
  void end_use(MemoryKind kind, size_t bytes) {
    report.kinds[static_cast<size_t>(kind)].current -= bytes;
    report.total.current -= bytes;
  }

  const bool rehearsal;
  mutable std::mutex mutex;
  Arena arena;
  std::unordered_map<size_t, std::vector<Block>> free_blocks;
  MemoryReport report;
  MemoryUse held;  ///< what blocks have used, in whole pages
};

struct Pools {
  std::shared_ptr<Pool> host, rehearsal;  ///< the second while one goes on
  const std::shared_ptr<Pool>& current() const { return rehearsal ? rehearsal : host; }
};
Pools& pools() {
  static Pools pools;
  return pools;
}

}  // namespace

struct HostMemory::State : Pool {
  State() : Pool(false) {}
};

std::string_view memory_kind_name(MemoryKind kind) {
  constexpr std::array<std::string_view, kMemoryKinds> kNames = {"weights",   "adapters",    "gradients",
                                                                 "optimizer", "activations", "workspace"};
  return kNames[static_cast<size_t>(kind)];
}

HostMemory::HostMemory() : state_(std::make_shared<State>()) {
  pools().host = state_;
}

HostMemory& HostMemory::instance() {
  static HostMemory memory;
  return memory;
}

std::shared_ptr<void> HostMemory::allocate(size_t bytes, MemoryKind kind) {
  const std::shared_ptr<Pool> pool = pools().current();
  {
    std::lock_guard lock(pool->mutex);
    if (void* data = pool->from_arena(bytes, kind)) {
      pool->use(kind, bytes);
      return std::shared_ptr<void>(data, [pool, bytes, kind](void* released) {
        std::lock_guard lock(pool->mutex);
        pool->end_use(kind, bytes);
        try {
          pool->arena.release(released, bytes);
        } catch (const std::bad_alloc&) {
          // This must not throw; the range stays unused.
        }
      });
    }
  }
  const size_t size = size_class(std::max<size_t>(bytes, 1));
  Pool::Block block;
  {
    std::lock_guard lock(pool->mutex);
    auto& blocks = pool->free_blocks[size];
    if (!blocks.empty()) {
      block = blocks.back();
      blocks.pop_back();
      pool->report.cached -= size;
    }
  }
  if (!block.data) {
    block = pool->take(size);
    if (!block.data) {
      // Cached blocks of other sizes may be what is missing.
      std::lock_guard lock(pool->mutex);
      pool->trim();
      block = pool->take(size);
    }
    if (!block.data)
      fail_resources(
          "out of memory: cannot allocate {} ({} bytes) for {}; use a smaller batch, cutoff_len or bf16",
          format_bytes(bytes), bytes, memory_kind_name(kind));
    std::lock_guard lock(pool->mutex);
    ++pool->report.system_calls;
  }
  {
    std::lock_guard lock(pool->mutex);
    pool->use(kind, size);
    pool->touch(block, bytes);
  }
  return std::shared_ptr<void>(block.data, [pool, block, kind](void*) {
    std::lock_guard lock(pool->mutex);
    pool->end_use(kind, block.size);
    // The list may have no room for the block; this must not throw.
    try {
      pool->free_blocks[block.size].push_back(block);
      pool->report.cached += block.size;
    } catch (const std::bad_alloc&) {
      pool->give_back(block);
    }
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
#ifdef __GLIBC__
  // Freed memory of other libraries, such as the matrices of a decomposition, lies in between.
  ::malloc_trim(0);
#endif
}

bool rehearses() {
  return pools().rehearsal != nullptr;
}
MemoryUse held_memory() {
  HostMemory::instance();
  const std::shared_ptr<Pool> pool = pools().current();
  std::lock_guard lock(pool->mutex);
  return pool->held;
}

MemoryRehearsal::MemoryRehearsal() {
  FETTLE_CHECK(!rehearses(), "a rehearsal within another");
  pools().rehearsal = std::make_shared<Pool>(true);
}
MemoryRehearsal::~MemoryRehearsal() {
  // A tensor that outlives it keeps its pool, but not what code that is no backend wrote meanwhile.
  trim();
  pools().rehearsal.reset();
}
MemoryUse MemoryRehearsal::live() const {
  std::lock_guard lock(pools().rehearsal->mutex);
  return pools().rehearsal->report.total;
}
void MemoryRehearsal::trim() {
  std::lock_guard lock(pools().rehearsal->mutex);
  pools().rehearsal->trim();
}

}  // namespace fettle
