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

// body(run, first element, n) on all elements of tensors of the same shape; runs that need copies are short
// enough for them to stay in the first cache.
template <size_t N, typename Body>
void for_elements(const std::array<Operand, N>& operands, Body body) {
  constexpr int64_t kCopied = 1024;
  bool copied = false;
  for (const Operand& operand : operands) copied |= operand.tensor->dtype() != operands[0].tensor->dtype();
  for_runs(operands[0].tensor->numel(), [&](int64_t begin, int64_t n) {
    const int64_t step = copied ? kCopied : n;
    for (int64_t end = begin + n; begin < end; begin += step) {
      const int64_t count = std::min(step, end - begin);
      Run<N> run(operands, begin, count);
      body(run, begin, count);
      run.store();
    }
  });
}

// body(run, row) for every row of `width` elements.
template <size_t N, typename Body>
void for_row_runs(int64_t rows, int64_t width, const std::array<Operand, N>& operands, Body body) {
  for_rows(rows, width, [&](int64_t row) {
    Run<N> run(operands, row * width, width);
    body(run, row);
    run.store();
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
