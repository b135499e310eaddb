// Allocations that fail at a chosen moment; see shim.h.
#include <dlfcn.h>
#include <link.h>
#include <malloc.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <string>

#include "shim.h"

// glibc's own; looking them up by dlsym() would allocate.
extern "C" {
void* __libc_malloc(size_t bytes);
void* __libc_calloc(size_t count, size_t bytes);
void* __libc_realloc(void* block, size_t bytes);
void* __libc_memalign(size_t alignment, size_t bytes);
void __libc_free(void* block);
}

namespace {

long fail_at = 0;
bool lasting = false;
size_t from_bytes = 1;
std::atomic<long> seen{0};
std::atomic<long> live{0};   // bytes in use
std::atomic<long> limit{0};  // of them, once memory has run out for good

// oneDNN does not survive a failure of its own small allocations (dnnl_memory_create() uses what it did not
// get).
uintptr_t exempt_begin = 0, exempt_end = 0;

int find_exempt(struct dl_phdr_info* library, size_t, void*) {
  if (!std::strstr(library->dlpi_name, "libdnnl")) return 0;
  for (int i = 0; i < library->dlpi_phnum; ++i) {
    const auto& part = library->dlpi_phdr[i];
    if (part.p_type != PT_LOAD || !(part.p_flags & PF_X)) continue;
    exempt_begin = library->dlpi_addr + part.p_vaddr;
    exempt_end = exempt_begin + part.p_memsz;
  }
  return 0;
}

bool fails(size_t bytes, const void* caller) {
  if (fail_at == 0 || bytes < from_bytes) return false;
  const auto from = reinterpret_cast<uintptr_t>(caller);
  if (from >= exempt_begin && from < exempt_end) return false;
  const long now = ++seen;
  if (lasting && now == fail_at) limit = live.load();
  // Memory that has run out stays so until something is freed.
  const bool failed = lasting ? now >= fail_at && live + static_cast<long>(bytes) > limit : now == fail_at;
  if (failed) errno = ENOMEM;
  return failed;
}

void* counted(void* block) {
  if (block) live += static_cast<long>(::malloc_usable_size(block));
  return block;
}

// Counting goes on while main() runs: what the loader and static objects allocate comes before anybody could
// tell.
int (*program)(int, char**, char**) = nullptr;

int counted_program(int count, char** words, char** environment) {
  if (const char* from = std::getenv("FAULT_MEMORY_FROM")) from_bytes = static_cast<size_t>(std::atoll(from));
  lasting = std::getenv("FAULT_LASTING") != nullptr;
  ::dl_iterate_phdr(find_exempt, nullptr);
  if (const char* at = std::getenv("FAULT_MEMORY")) fail_at = std::atol(at);
  int code = program(count, words, environment);
  const bool wanted = fail_at != 0;
  fail_at = 0;
  if (wanted) shim::report("allocations " + std::to_string(seen.load()));
  return code;
}

}  // namespace

extern "C" {

int __libc_start_main(int (*main)(int, char**, char**), int count, char** words, void (*init)(),
                      void (*fini)(), void (*loader_fini)(), void* stack_end) {
  using Start = int (*)(int (*)(int, char**, char**), int, char**, void (*)(), void (*)(), void (*)(), void*);
  program = main;
  return reinterpret_cast<Start>(::dlsym(RTLD_NEXT, "__libc_start_main"))(counted_program, count, words, init,
                                                                          fini, loader_fini, stack_end);
}

void* malloc(size_t bytes) {
  return fails(bytes, __builtin_return_address(0)) ? nullptr : counted(__libc_malloc(bytes));
}
void* calloc(size_t count, size_t bytes) {
  return fails(count * bytes, __builtin_return_address(0)) ? nullptr : counted(__libc_calloc(count, bytes));
}
void* realloc(void* block, size_t bytes) {
  if (bytes > 0 && fails(bytes, __builtin_return_address(0))) return nullptr;
  const long before = block ? static_cast<long>(::malloc_usable_size(block)) : 0;
  void* moved = __libc_realloc(block, bytes);
  if (moved || bytes == 0) live -= before;
  return counted(moved);
}
void free(void* block) {
  if (block) live -= static_cast<long>(::malloc_usable_size(block));
  __libc_free(block);
}
void* memalign(size_t alignment, size_t bytes) {
  return fails(bytes, __builtin_return_address(0)) ? nullptr : counted(__libc_memalign(alignment, bytes));
}
void* aligned_alloc(size_t alignment, size_t bytes) {
  return fails(bytes, __builtin_return_address(0)) ? nullptr : counted(__libc_memalign(alignment, bytes));
}
int posix_memalign(void** block, size_t alignment, size_t bytes) {
  if (fails(bytes, __builtin_return_address(0))) return ENOMEM;
  *block = counted(__libc_memalign(alignment, bytes));
  return *block ? 0 : ENOMEM;
}
void* mmap(void* address, size_t bytes, int protection, int flags, int fd, off_t offset) {
  if (fails(bytes, __builtin_return_address(0))) return MAP_FAILED;
  return reinterpret_cast<void*>(::syscall(SYS_mmap, address, bytes, protection, flags, fd, offset));
}
void* mmap64(void* address, size_t bytes, int protection, int flags, int fd, off_t offset) {
  return mmap(address, bytes, protection, flags, fd, offset);
}

}  // extern "C"
