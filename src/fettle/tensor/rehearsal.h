// Rehearsals: what a piece of the program would take of memory, seen by running it without memory.
#pragma once
#include "fettle/tensor/memory.h"

namespace fettle {

/// While it lives, tensors get address space and no memory, by the rules of HostMemory and on an account of
/// their own. Zeroing, copying and converting tensors do nothing meanwhile, and a backend that computes
/// nothing (kernels/rehearsal.h) does the rest. One at a time, and no other thread may make tensors; those
/// made in it may outlive it.
class MemoryRehearsal {
 public:
  MemoryRehearsal();
  ~MemoryRehearsal();
  MemoryRehearsal(const MemoryRehearsal&) = delete;
  MemoryRehearsal& operator=(const MemoryRehearsal&) = delete;

  /// Live tensors; held_memory() tells what the process would have been given.
  MemoryUse live() const;
  /// As HostMemory::trim().
  void trim();
};

/// Whether one lives: nothing needs to be filled or copied.
bool rehearses();
/// What the system has given, of a rehearsal while one lives: live tensors and blocks kept for reuse, in
/// whole pages as far as they were used.
MemoryUse held_memory();

}  // namespace fettle
