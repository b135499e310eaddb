// Memory for tensors that come and go: one reserved range, cut and joined again.
#pragma once
#include <cstddef>
#include <map>
#include <vector>

namespace fettle {

/// Address space of twice the machine's memory, whose pages the system gives when they are first used. A
/// block is the smallest free run that holds it, and neighbouring free runs are one: passes of any lengths
/// share the same pages, where lists of freed blocks by size would keep a set for every length. Not thread
/// safe.
class Arena {
 public:
  /// `only_addresses`: for rehearsals; nothing is ever used.
  explicit Arena(bool only_addresses);
  ~Arena();
  Arena(const Arena&) = delete;
  Arena& operator=(const Arena&) = delete;

  /// Page aligned; null when the range is used up, or could not be reserved (a limit of address space).
  void* allocate(size_t bytes);
  /// A block of allocate() with its size.
  void release(void* block, size_t bytes);
  bool contains(const void* block) const;
  /// Gives free pages back to the system.
  void trim();
  /// Bytes that the system has given: pages of blocks now or since the last trim().
  size_t held() const { return held_; }

 private:
  void hold(size_t begin, size_t end);
  std::byte* base_ = nullptr;
  size_t capacity_ = 0, top_ = 0, held_ = 0;
  std::map<size_t, size_t> free_;  ///< begin: size; below top_, never touching each other
  std::vector<bool> used_;         ///< of each huge page below top_, whether it is held
};

}  // namespace fettle
