// Runs of keys on several threads, each with its own soft-max, merged in order (Dao et al., "Flash-Decoding
// for long-context inference", 2023). The query heads that share a key head meet its keys together.
#include "fettle/kernels/cpu/few_queries.h"

#include <cmath>
#include <limits>

#include "fettle/base/threads.h"
#include "fettle/kernels/cpu/few_rows.h"
#include "fettle/kernels/cpu/row_kernels.h"

namespace fettle::cpu {
namespace {

constexpr int64_t kRunOfKeys = 256;

struct Heads {
  int64_t heads, kv_heads, group, dim;
  Heads(const Tensor& q, const Tensor& k)
      : heads(q.dim(1)), kv_heads(k.dim(1)), group(heads / kv_heads), dim(q.dim(2)) {}
};

// One key head of one sequence.
struct Stack {
  Sequence sequence;
  int64_t kv_head;
  int64_t rows;             ///< queries times heads of the group; row = query * group + head
  int64_t first_run, runs;  ///< of keys
  int64_t partial;  ///< where its results begin: for each run, rows of (sums [dim], maximum, normaliser)
};

// The rows of a stack over one run of keys.
void attend_run(const Tensor& q, const Tensor& k, const Tensor& v, const AttentionSpec& spec, const Heads& h,
                const Stack& stack, int64_t run, float* partial) {
  const VectorKernels& kernels = vector_kernels();
  const auto exp_scores = row_kernels(DType::kF32).exp_scores;
  const Sequence& seq = stack.sequence;
  const int64_t begin = run * kRunOfKeys, keys = std::min(kRunOfKeys, seq.keys - begin);
  const int64_t stride = padded_row(h.dim), token_stride = h.kv_heads * h.dim;
  const int64_t first_key = ((seq.k0 + begin) * h.kv_heads + stack.kv_head) * h.dim;
  float* queries = scratch_f32(0, stack.rows * stride);
  float* scores = scratch_f32(1, stack.rows * keys);
  for (int64_t r = 0; r < stack.rows; ++r) {
    const int64_t token = seq.q0 + r / h.group, head = stack.kv_head * h.group + r % h.group;
    float* row = queries + r * stride;
    read_f32(at(q, (token * h.heads + head) * h.dim), q.dtype(), row, h.dim);
    std::fill(row + h.dim, row + stride, 0.0f);
  }
  row_kernel(row_products().products, k.dtype())(queries, stack.rows, h.dim, at(k, first_key), token_stride,
                                                 keys, scores);
  float* sums = partial;
  float* top = partial + stack.rows * h.dim;
  float* normaliser = top + stack.rows;
  std::fill(sums, sums + stack.rows * h.dim, 0.0f);
  for (int64_t r = 0; r < stack.rows; ++r) {
    float* row = scores + r * keys;
    const int64_t lo = std::clamp<int64_t>(seq.first_key(spec, r / h.group) - begin, 0, keys),
                  hi = std::clamp<int64_t>(seq.last_key(spec, r / h.group) - begin, lo, keys);
    std::fill(row, row + lo, 0.0f);
    std::fill(row + hi, row + keys, 0.0f);
    top[r] = hi > lo ? kernels.max(row + lo, hi - lo) * spec.scale : -std::numeric_limits<float>::infinity();
    normaliser[r] = hi > lo ? exp_scores(row + lo, spec.scale, top[r], row + lo, hi - lo) : 0.0f;
  }
  row_kernel(row_products().combinations, v.dtype())(scores, stack.rows, h.dim, at(v, first_key),
                                                     token_stride, keys, sums);
}

// One row of a stack: the sums of all runs, over one maximum.
void merge_row(const Heads& h, const Stack& stack, int64_t r, const float* partial, Tensor& out,
               Tensor& lse) {
  const VectorKernels& kernels = vector_kernels();
  const int64_t size = stack.rows * (h.dim + 2);
  auto top = [&](int64_t run) { return partial[run * size + stack.rows * h.dim + r]; };
  float peak = -std::numeric_limits<float>::infinity(), normaliser = 0;
  for (int64_t run = 0; run < stack.runs; ++run) peak = std::max(peak, top(run));
  float* sums = scratch_f32(0, h.dim);
  std::fill(sums, sums + h.dim, 0.0f);
  for (int64_t run = 0; run < stack.runs; ++run) {
    const float* part = partial + run * size;
    const float weight = part[stack.rows * (h.dim + 1) + r] > 0 ? std::exp(top(run) - peak) : 0.0f;
    normaliser += weight * part[stack.rows * (h.dim + 1) + r];
    kernels.axpy(weight, part + r * h.dim, sums, h.dim);
  }
  kernels.scale(normaliser > 0 ? 1.0f / normaliser : 0.0f, sums, sums, h.dim);
  const int64_t token = stack.sequence.q0 + r / h.group, head = stack.kv_head * h.group + r % h.group;
  write_f32(sums, at(out, (token * h.heads + head) * h.dim), out.dtype(), h.dim);
  if (lse.defined()) lse.data<float>()[head * out.dim(0) + token] = peak + std::log(normaliser);
}

}  // namespace

void few_queries(const Tensor& q, const Tensor& k, const Tensor& v, const AttentionSpec& spec,
                 const std::vector<size_t>& sequences, Tensor& out, Tensor& lse) {
  const Heads h(q, k);
  std::vector<Stack> stacks;
  std::vector<std::pair<size_t, int64_t>> runs;  // stack, run
  int64_t partial = 0;
  for (size_t s : sequences) {
    const Sequence seq(spec, s);
    if (seq.queries == 0) continue;
    const int64_t rows = seq.queries * h.group, first = seq.first_key(spec, 0) / kRunOfKeys,
                  last = (seq.last_key(spec, seq.queries - 1) + kRunOfKeys - 1) / kRunOfKeys;
    for (int64_t head = 0; head < h.kv_heads; ++head) {
      const int64_t count = std::max<int64_t>(0, last - first);
      for (int64_t run = 0; run < count; ++run) runs.emplace_back(stacks.size(), run);
      stacks.push_back({seq, head, rows, first, count, partial});
      partial += count * rows * (h.dim + 2);
    }
  }
  std::vector<float> partials(static_cast<size_t>(partial));
  parallel_for(static_cast<int64_t>(runs.size()), [&](int64_t i) {
    const auto [number, run] = runs[static_cast<size_t>(i)];
    const Stack& stack = stacks[number];
    attend_run(q, k, v, spec, h, stack, stack.first_run + run,
               partials.data() + stack.partial + run * stack.rows * (h.dim + 2));
  });
  parallel_for(static_cast<int64_t>(stacks.size()), [&](int64_t i) {
    const Stack& stack = stacks[static_cast<size_t>(i)];
    for (int64_t r = 0; r < stack.rows; ++r)
      merge_row(h, stack, r, partials.data() + stack.partial, out, lse);
  });
}

}  // namespace fettle::cpu
