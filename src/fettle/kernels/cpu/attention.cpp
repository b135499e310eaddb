// Attention in blocks of queries and keys with a running soft-max (Dao et al., arXiv 2205.14135). The query
// heads that share a key head are stacked into one block, so a packed key is used by all of them; scores of
// one block are all that exists.
#include "fettle/kernels/cpu/attention.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "fettle/base/threads.h"
#include "fettle/kernels/cpu/few_queries.h"
#include "fettle/kernels/cpu/gemm.h"
#include "fettle/kernels/cpu/row_kernels.h"
#include "fettle/kernels/cpu/rows.h"

namespace fettle::cpu {
namespace {

constexpr int64_t kKeyBlock = 256;
constexpr int64_t kStackedRows = 256;  ///< query rows of all stacked heads in a block, about

// oneDNN's products are made for sizes rounded up to this, so that sequences of any length share a few
// primitives; what is added is zero. Tiles of bf16 take any size.
constexpr int64_t kRound = 64;

struct Shapes {
  int64_t heads, kv_heads, group, dim, total_q;
  DType dtype;    ///< of activations
  DType product;  ///< of products: bf16 only where it is native
  int64_t query_block;
  int64_t rounded_up(int64_t n) const {
    return product == DType::kBF16 ? n : (n + kRound - 1) / kRound * kRound;
  }
  int64_t most_rows() const { return rounded_up(query_block * group); }
  Shapes(const Tensor& q, const Tensor& k)
      : heads(q.dim(1)),
        kv_heads(k.dim(1)),
        group(heads / kv_heads),
        dim(q.dim(2)),
        total_q(q.dim(0)),
        dtype(q.dtype()),
        product(q.dtype() == DType::kBF16 && native_bf16() ? DType::kBF16 : DType::kF32),
        query_block(std::max<int64_t>(16, kStackedRows / group / 16 * 16)) {}
  size_t product_size() const { return dtype_size(product); }
  int64_t product_bytes() const { return static_cast<int64_t>(product_size()); }
  // Zeros around what a query sees, [lo, hi) of a row of `padded` elements.
  void clear_outside(std::byte* row, int64_t lo, int64_t hi, int64_t padded) const {
    std::memset(row, 0, static_cast<size_t>(lo) * product_size());
    std::memset(row + hi * product_bytes(), 0, static_cast<size_t>(padded - hi) * product_size());
  }
};

struct Block {
  size_t sequence;
  int64_t kv_head, first, count;  ///< queries of the sequence
};

// Copies rows [first, first+count) of the stacked heads of `kv_head` into [s.rounded_up(count * group), dim],
// row = query * group + head.
void pack_heads(const Tensor& x, const Shapes& s, int64_t token, int64_t count, int64_t kv_head,
                std::byte* out) {
  int64_t run = s.group * s.dim;  // the heads of a group stand side by side in a token's row
  for (int64_t i = 0; i < count; ++i) {
    const std::byte* source = at(x, ((token + i) * s.heads + kv_head * s.group) * s.dim);
    std::byte* target = out + static_cast<size_t>(i * run) * s.product_size();
    if (s.product == s.dtype)
      std::memcpy(target, source, static_cast<size_t>(run) * s.product_size());
    else
      read_f32(source, s.dtype, reinterpret_cast<float*>(target), run);
  }
  int64_t rows = count * s.group;
  std::memset(out + static_cast<size_t>(rows * s.dim) * s.product_size(), 0,
              static_cast<size_t>((s.rounded_up(rows) - rows) * s.dim) * s.product_size());
}

// One key head of a run of tokens, [s.rounded_up(count), dim], in the product's dtype; used in place where it
// can be.
struct Panel {
  const void* data;
  int64_t stride;
};
Panel key_panel(const Tensor& x, const Shapes& s, int64_t token, int64_t count, int64_t kv_head,
                float* buffer) {
  if (s.product == s.dtype && count == s.rounded_up(count))
    return {at(x, (token * s.kv_heads + kv_head) * s.dim), s.kv_heads * s.dim};
  auto* out = reinterpret_cast<std::byte*>(buffer);
  size_t row_bytes = static_cast<size_t>(s.dim) * s.product_size();
  for (int64_t i = 0; i < count; ++i) {
    const std::byte* source = at(x, ((token + i) * s.kv_heads + kv_head) * s.dim);
    if (s.product == s.dtype)
      std::memcpy(out + static_cast<size_t>(i) * row_bytes, source, row_bytes);
    else
      read_f32(source, s.dtype, reinterpret_cast<float*>(out + static_cast<size_t>(i) * row_bytes), s.dim);
  }
  std::memset(out + static_cast<size_t>(count) * row_bytes, 0,
              static_cast<size_t>(s.rounded_up(count) - count) * row_bytes);
  return {buffer, s.dim};
}

void forward_block(const Tensor& q, const Tensor& k, const Tensor& v, const AttentionSpec& spec,
                   const Shapes& s, const Block& block, Tensor& out, Tensor& lse) {
  const VectorKernels& kernels = vector_kernels();
  const RowKernels& typed = row_kernels(s.product);
  Sequence seq(spec, block.sequence);
  int64_t rows = block.count * s.group, padded_rows = s.rounded_up(rows), most = s.most_rows();
  auto* queries = reinterpret_cast<std::byte*>(scratch_f32(0, most * s.dim));
  float* scores = scratch_f32(1, most * kKeyBlock);
  float* sums = scratch_f32(2, most * s.dim);
  float* statistics = scratch_f32(3, 2 * most);
  float *top = statistics, *normaliser = statistics + most;
  auto* probabilities = reinterpret_cast<std::byte*>(scratch_f32(4, most * kKeyBlock));
  pack_heads(q, s, seq.q0 + block.first, block.count, block.kv_head, queries);
  std::fill(top, top + rows, -std::numeric_limits<float>::infinity());
  std::fill(normaliser, normaliser + rows, 0.0f);
  std::fill(sums, sums + padded_rows * s.dim, 0.0f);

  int64_t begin = seq.first_key(spec, block.first), end = seq.last_key(spec, block.first + block.count - 1);
  for (int64_t k0 = begin / kKeyBlock * kKeyBlock; k0 < end; k0 += kKeyBlock) {
    int64_t keys = std::min(kKeyBlock, end - k0), padded = s.rounded_up(keys);
    Panel key = key_panel(k, s, seq.k0 + k0, keys, block.kv_head, scratch_f32(5, kKeyBlock * s.dim));
    gemm({.m = padded_rows,
          .n = padded,
          .k = s.dim,
          .a = queries,
          .b = key.data,
          .c = scores,
          .lda = s.dim,
          .ldb = key.stride,
          .ldc = kKeyBlock,
          .transpose_b = true,
          .in = s.product,
          .out = DType::kF32});
    for (int64_t r = 0; r < rows; ++r) {
      float* row = scores + r * kKeyBlock;
      int64_t i = block.first + r / s.group;
      int64_t lo = std::clamp<int64_t>(seq.first_key(spec, i) - k0, 0, keys),
              hi = std::clamp<int64_t>(seq.last_key(spec, i) - k0, lo, keys);
      std::byte* p = probabilities + r * padded * s.product_bytes();
      s.clear_outside(p, lo, hi, padded);
      if (hi == lo) continue;
      float peak = std::max(top[r], kernels.max(row + lo, hi - lo) * spec.scale);
      if (peak > top[r]) {
        // What has been summed so far was relative to the old maximum.
        float shrink = top[r] == -std::numeric_limits<float>::infinity() ? 0.0f : std::exp(top[r] - peak);
        normaliser[r] *= shrink;
        kernels.scale(shrink, sums + r * s.dim, sums + r * s.dim, s.dim);
        top[r] = peak;
      }
      normaliser[r] += typed.exp_scores(row + lo, spec.scale, peak, p + lo * s.product_bytes(), hi - lo);
    }
    std::memset(probabilities + static_cast<size_t>(rows * padded) * s.product_size(), 0,
                static_cast<size_t>((padded_rows - rows) * padded) * s.product_size());
    Panel value = key_panel(v, s, seq.k0 + k0, keys, block.kv_head, scratch_f32(6, kKeyBlock * s.dim));
    gemm({.m = padded_rows,
          .n = s.dim,
          .k = padded,
          .a = probabilities,
          .b = value.data,
          .c = sums,
          .lda = padded,
          .ldb = value.stride,
          .ldc = s.dim,
          .beta = 1.0f,
          .in = s.product,
          .out = DType::kF32});
  }
  for (int64_t r = 0; r < rows; ++r) {
    int64_t token = seq.q0 + block.first + r / s.group, head = block.kv_head * s.group + r % s.group;
    float inverse = normaliser[r] > 0 ? 1.0f / normaliser[r] : 0.0f;
    kernels.scale(inverse, sums + r * s.dim, sums + r * s.dim, s.dim);
    write_f32(sums + r * s.dim, at(out, (token * s.heads + head) * s.dim), s.dtype, s.dim);
    if (lse.defined()) lse.data<float>()[head * s.total_q + token] = top[r] + std::log(normaliser[r]);
  }
}

// Gradients of one key head of one sequence: dk and dv gather in f32 over all query blocks, in order.
void backward_head(const Tensor& dout, const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& out,
                   const Tensor& lse, const AttentionSpec& spec, const Shapes& s, size_t sequence,
                   int64_t kv_head, Tensor& dq, Tensor& dk, Tensor& dv) {
  const VectorKernels& kernels = vector_kernels();
  const RowKernels& typed = row_kernels(s.product);
  Sequence seq(spec, sequence);
  // Key blocks start at multiples of kKeyBlock, so padding beyond the last key stays inside these.
  std::vector<float> dkeys(static_cast<size_t>(s.rounded_up(seq.keys) * s.dim)), dvalues(dkeys.size());
  int64_t most = s.most_rows();
  auto* queries = reinterpret_cast<std::byte*>(scratch_f32(0, most * s.dim));
  auto* gradients = reinterpret_cast<std::byte*>(scratch_f32(1, most * s.dim));
  float* scores = scratch_f32(2, most * kKeyBlock);
  float* dscores = scratch_f32(3, most * kKeyBlock);
  auto* p = reinterpret_cast<std::byte*>(scratch_f32(4, most * kKeyBlock));
  auto* ds = reinterpret_cast<std::byte*>(scratch_f32(5, most * kKeyBlock));
  float* dqueries = scratch_f32(6, most * s.dim);
  float* delta = scratch_f32(7, most);
  float* temporary = scratch_f32(8, 2 * s.dim);

  for (int64_t first = 0; first < seq.queries; first += s.query_block) {
    int64_t count = std::min(s.query_block, seq.queries - first), rows = count * s.group,
            padded_rows = s.rounded_up(rows);
    pack_heads(q, s, seq.q0 + first, count, kv_head, queries);
    pack_heads(dout, s, seq.q0 + first, count, kv_head, gradients);
    for (int64_t r = 0; r < rows; ++r) {
      int64_t element = ((seq.q0 + first + r / s.group) * s.heads + kv_head * s.group + r % s.group) * s.dim;
      delta[r] = kernels.dot(row_f32(dout, element, s.dim, temporary),
                             row_f32(out, element, s.dim, temporary + s.dim), s.dim);
    }
    std::fill(dqueries, dqueries + padded_rows * s.dim, 0.0f);
    int64_t begin = seq.first_key(spec, first), end = seq.last_key(spec, first + count - 1);
    for (int64_t k0 = begin / kKeyBlock * kKeyBlock; k0 < end; k0 += kKeyBlock) {
      int64_t keys = std::min(kKeyBlock, end - k0), padded = s.rounded_up(keys);
      Panel key = key_panel(k, s, seq.k0 + k0, keys, kv_head, scratch_f32(9, kKeyBlock * s.dim));
      Panel value = key_panel(v, s, seq.k0 + k0, keys, kv_head, scratch_f32(10, kKeyBlock * s.dim));
      gemm({.m = padded_rows,
            .n = padded,
            .k = s.dim,
            .a = queries,
            .b = key.data,
            .c = scores,
            .lda = s.dim,
            .ldb = key.stride,
            .ldc = kKeyBlock,
            .transpose_b = true,
            .in = s.product,
            .out = DType::kF32});
      gemm({.m = padded_rows,
            .n = padded,
            .k = s.dim,
            .a = gradients,
            .b = value.data,
            .c = dscores,
            .lda = s.dim,
            .ldb = value.stride,
            .ldc = kKeyBlock,
            .transpose_b = true,
            .in = s.product,
            .out = DType::kF32});
      for (int64_t r = 0; r < rows; ++r) {
        float *row = scores + r * kKeyBlock, *drow = dscores + r * kKeyBlock;
        int64_t i = first + r / s.group, head = kv_head * s.group + r % s.group;
        int64_t lo = std::clamp<int64_t>(seq.first_key(spec, i) - k0, 0, keys),
                hi = std::clamp<int64_t>(seq.last_key(spec, i) - k0, lo, keys);
        std::byte *prow = p + r * padded * s.product_bytes(), *dsrow = ds + r * padded * s.product_bytes();
        s.clear_outside(prow, lo, hi, padded);
        s.clear_outside(dsrow, lo, hi, padded);
        typed.score_gradients(row + lo, drow + lo, spec.scale,
                              lse.data<float>()[head * s.total_q + seq.q0 + i], delta[r],
                              prow + lo * s.product_bytes(), dsrow + lo * s.product_bytes(), hi - lo);
      }
      for (std::byte* extra : {p, ds})
        std::memset(extra + static_cast<size_t>(rows * padded) * s.product_size(), 0,
                    static_cast<size_t>((padded_rows - rows) * padded) * s.product_size());
      gemm({.m = padded,
            .n = s.dim,
            .k = padded_rows,
            .a = p,
            .b = gradients,
            .c = dvalues.data() + k0 * s.dim,
            .lda = padded,
            .ldb = s.dim,
            .ldc = s.dim,
            .transpose_a = true,
            .beta = 1.0f,
            .in = s.product,
            .out = DType::kF32});
      gemm({.m = padded,
            .n = s.dim,
            .k = padded_rows,
            .a = ds,
            .b = queries,
            .c = dkeys.data() + k0 * s.dim,
            .lda = padded,
            .ldb = s.dim,
            .ldc = s.dim,
            .transpose_a = true,
            .beta = 1.0f,
            .in = s.product,
            .out = DType::kF32});
      gemm({.m = padded_rows,
            .n = s.dim,
            .k = padded,
            .a = ds,
            .b = key.data,
            .c = dqueries,
            .lda = padded,
            .ldb = key.stride,
            .ldc = s.dim,
            .beta = 1.0f,
            .in = s.product,
            .out = DType::kF32});
    }
    for (int64_t r = 0; r < rows; ++r) {
      int64_t token = seq.q0 + first + r / s.group, head = kv_head * s.group + r % s.group;
      write_f32(dqueries + r * s.dim, at(dq, (token * s.heads + head) * s.dim), s.dtype, s.dim);
    }
  }
  for (int64_t i = 0; i < seq.keys; ++i) {
    int64_t element = ((seq.k0 + i) * s.kv_heads + kv_head) * s.dim;
    write_f32(dkeys.data() + i * s.dim, at(dk, element), s.dtype, s.dim);
    write_f32(dvalues.data() + i * s.dim, at(dv, element), s.dtype, s.dim);
  }
}

}  // namespace

void attention_forward(const Tensor& q, const Tensor& k, const Tensor& v, const AttentionSpec& spec,
                       Tensor& out, Tensor& lse) {
  Shapes s(q, k);
  std::vector<Block> blocks;
  std::vector<size_t> few;
  for (size_t i = 0; i + 1 < spec.cu_q.size(); ++i) {
    if (takes_few_queries(Sequence(spec, i))) {
      few.push_back(i);
      continue;
    }
    for (int64_t head = 0; head < s.kv_heads; ++head)
      for (int64_t first = 0, queries = spec.cu_q[i + 1] - spec.cu_q[i]; first < queries;
           first += s.query_block)
        blocks.push_back({i, head, first, std::min(s.query_block, queries - first)});
  }
  if (!few.empty()) few_queries(q, k, v, spec, few, out, lse);
  // Later blocks see more keys, so the long ones start first.
  parallel_for(static_cast<int64_t>(blocks.size()), [&](int64_t i) {
    forward_block(q, k, v, spec, s, blocks[blocks.size() - 1 - static_cast<size_t>(i)], out, lse);
  });
}

void attention_backward(const Tensor& dout, const Tensor& q, const Tensor& k, const Tensor& v,
                        const Tensor& out, const Tensor& lse, const AttentionSpec& spec, Tensor& dq,
                        Tensor& dk, Tensor& dv) {
  Shapes s(q, k);
  int64_t sequences = static_cast<int64_t>(spec.cu_q.size()) - 1;
  parallel_for(sequences * s.kv_heads, [&](int64_t i) {
    backward_head(dout, q, k, v, out, lse, spec, s, static_cast<size_t>(i / s.kv_heads), i % s.kv_heads, dq,
                  dk, dv);
  });
}

void rehearse_attention(const Tensor& q, const Tensor& k, const AttentionSpec& spec, bool backward,
                        const ScratchNeed& need) {
  const Shapes s(q, k);
  const int64_t most = s.most_rows(), sequences = static_cast<int64_t>(spec.cu_q.size()) - 1;
  int64_t keys = 0;
  for (size_t i = 0; i + 1 < spec.cu_k.size(); ++i)
    keys = std::max<int64_t>(keys, spec.cu_k[i + 1] - spec.cu_k[i]);
  const int64_t threads = sequences * s.kv_heads;
  auto needs = [&](std::initializer_list<int64_t> sizes) {
    int slot = 0;
    for (int64_t size : sizes) need(slot++, size, threads);
  };
  const int64_t head = most * s.dim, scores = most * kKeyBlock, panel = kKeyBlock * s.dim;
  if (!backward) return needs({head, scores, head, 2 * most, scores, panel, panel});
  needs({head, head, scores, scores, scores, scores, head, most, 2 * s.dim, panel, panel});
  // dkeys and dvalues, which are no slots of the kernel.
  need(static_cast<int>(kScratchSlots) - 1, 2 * s.rounded_up(keys) * s.dim, threads);
}

}  // namespace fettle::cpu
