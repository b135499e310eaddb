// Loops over rows and flat runs of tensors on several threads. Chunks depend on sizes alone, so results do
// not depend on the number of threads.
#pragma once
#include <algorithm>
#include <vector>

#include "fettle/base/threads.h"
#include "fettle/kernels/cpu/rows.h"

namespace fettle::cpu {

inline constexpr int64_t kRun = 1 << 14;  ///< elements of a chunk of flat work

// Rows of `width` elements in chunks of about kRun elements.
template <typename Body>
void for_rows(int64_t rows, int64_t width, Body body) {
  int64_t per_chunk = std::max<int64_t>(1, kRun / std::max<int64_t>(1, width));
  parallel_for((rows + per_chunk - 1) / per_chunk, [&](int64_t chunk) {
    for (int64_t r = chunk * per_chunk, end = std::min(rows, r + per_chunk); r < end; ++r) body(r);
  });
}

template <typename Body>
void for_runs(int64_t n, Body body) {
  parallel_for((n + kRun - 1) / kRun, [&](int64_t chunk) {
    int64_t begin = chunk * kRun;
    body(begin, std::min(kRun, n - begin));
  });
}

// Sums of rows into f32 vectors of `width`: partial sums over fixed blocks of rows, added in order.
// `add(r, partial)` adds row r to partial [vectors * width].
template <typename Add>
void sum_rows(int64_t rows, int64_t width, int vectors, Add add, std::vector<float>& total) {
  constexpr int64_t kBlock = 128;
  int64_t blocks = (rows + kBlock - 1) / kBlock, size = width * vectors;
  std::vector<float> partial(static_cast<size_t>(blocks * size));
  parallel_for(blocks, [&](int64_t b) {
    for (int64_t r = b * kBlock, end = std::min(rows, r + kBlock); r < end; ++r)
      add(r, partial.data() + b * size);
  });
  total.assign(static_cast<size_t>(size), 0.0f);
  for (int64_t b = 0; b < blocks; ++b)
    vector_kernels().add(total.data(), partial.data() + b * size, total.data(), size);
}

}  // namespace fettle::cpu
