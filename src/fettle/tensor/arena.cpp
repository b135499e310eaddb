#include "fettle/tensor/arena.h"

#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>

namespace fettle {
namespace {

constexpr size_t kPage = 4096, kHugePage = size_t{2} << 20;

size_t rounded(size_t bytes, size_t unit) {
  return (bytes + unit - 1) / unit * unit;
}

}  // namespace

Arena::Arena(bool only_addresses) {
  // Reserved addresses count against such a limit although nothing is used of them.
  if (rlimit space{}; ::getrlimit(RLIMIT_AS, &space) != 0 || space.rlim_cur != RLIM_INFINITY) return;
  const size_t memory = static_cast<size_t>(std::max(0L, ::sysconf(_SC_PHYS_PAGES))) * kPage;
  const size_t size = rounded(2 * memory, kHugePage);
  void* range = ::mmap(nullptr, size + kHugePage, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (range == MAP_FAILED) return;
  const uintptr_t begin = reinterpret_cast<uintptr_t>(range), aligned = rounded(begin, kHugePage);
  if (aligned > begin) ::munmap(range, aligned - begin);
  if (const size_t rest = begin + kHugePage - aligned; rest > 0)
    ::munmap(reinterpret_cast<void*>(aligned + size), rest);
  base_ = reinterpret_cast<std::byte*>(aligned);
  capacity_ = size;
  if (!only_addresses) ::madvise(base_, capacity_, MADV_HUGEPAGE);
}

Arena::~Arena() {
  if (base_) ::munmap(base_, capacity_);
}

bool Arena::contains(const void* block) const {
  const std::byte* at = static_cast<const std::byte*>(block);
  return base_ && at >= base_ && at < base_ + capacity_;
}

void* Arena::allocate(size_t bytes) {
  bytes = rounded(std::max<size_t>(bytes, 1), kPage);
  auto best = free_.end();
  for (auto run = free_.begin(); run != free_.end(); ++run)
    if (run->second >= bytes && (best == free_.end() || run->second < best->second)) best = run;
  size_t begin;
  if (best != free_.end()) {
    begin = best->first;
    const size_t rest = best->second - bytes;
    free_.erase(best);
    if (rest > 0) free_[begin + bytes] = rest;
  } else {
    // At the top, beginning with what is free there.
    begin = top_;
    const auto last = free_.empty() ? free_.end() : std::prev(free_.end());
    const bool joins = last != free_.end() && last->first + last->second == top_;
    if (joins) begin = last->first;
    if (bytes > capacity_ - begin) return nullptr;
    if (joins) free_.erase(last);
    top_ = begin + bytes;
  }
  hold(begin, begin + bytes);
  return base_ + begin;
}

void Arena::release(void* block, size_t bytes) {
  bytes = rounded(std::max<size_t>(bytes, 1), kPage);
  const size_t begin = static_cast<size_t>(static_cast<std::byte*>(block) - base_);
  auto run = free_.emplace(begin, bytes).first;
  if (auto next = std::next(run); next != free_.end() && begin + bytes == next->first) {
    run->second += next->second;
    free_.erase(next);
  }
  if (run != free_.begin())
    if (auto before = std::prev(run); before->first + before->second == begin) {
      before->second += run->second;
      free_.erase(run);
    }
}

void Arena::trim() {
  if (!free_.empty())
    if (const auto last = std::prev(free_.end()); last->first + last->second == top_) {
      // Nothing lies behind it, so its last huge page is free as a whole.
      last->second = rounded(top_, kHugePage) - last->first;
    }
  for (const auto& [begin, size] : free_) {
    const size_t first = rounded(begin, kHugePage), end = (begin + size) / kHugePage * kHugePage;
    if (first >= end) continue;
    ::madvise(base_ + first, end - first, MADV_DONTNEED);
    for (size_t page = first / kHugePage; page < end / kHugePage; ++page) {
      if (used_[page]) held_ -= kHugePage;
      used_[page] = false;
    }
  }
  if (!free_.empty())
    if (const auto last = std::prev(free_.end()); last->first + last->second >= top_) {
      top_ = last->first;
      free_.erase(last);
    }
}

void Arena::hold(size_t begin, size_t end) {
  const size_t last = (end - 1) / kHugePage;
  if (used_.size() <= last) used_.resize(last + 1);
  for (size_t page = begin / kHugePage; page <= last; ++page) {
    if (!used_[page]) held_ += kHugePage;
    used_[page] = true;
  }
}

}  // namespace fettle
