// Loops over the elements of a parameter, its gradient and its state.
#pragma once
#include <algorithm>
#include <cstdint>

#include "fettle/base/threads.h"
#include "fettle/tensor/tensor.h"

namespace fettle {

/// body(begin, end) for runs of n elements, on all threads; runs depend on n alone.
template <typename Body>
void for_element_runs(int64_t n, Body&& body) {
  constexpr int64_t kRun = 1 << 15;
  parallel_for((n + kRun - 1) / kRun, [&](int64_t run) { body(run * kRun, std::min(n, (run + 1) * kRun)); });
}

}  // namespace fettle
