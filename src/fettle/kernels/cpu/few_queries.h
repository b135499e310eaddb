// Attention of a few queries, which is bound by reading the keys and values once.
#pragma once
#include <algorithm>
#include <vector>

#include "fettle/kernels/backend.h"
#include "fettle/kernels/cpu/row_products.h"

namespace fettle::cpu {

/// Sequence s of a spec: where its queries and keys begin, and which keys a query sees.
struct Sequence {
  int64_t q0, queries, k0, keys;
  Sequence(const AttentionSpec& spec, size_t s)
      : q0(spec.cu_q[s]),
        queries(spec.cu_q[s + 1] - spec.cu_q[s]),
        k0(spec.cu_k[s]),
        keys(spec.cu_k[s + 1] - spec.cu_k[s]) {}
  // Keys [first, last) that query i sees; the last query stands where the last key stands.
  int64_t last_key(const AttentionSpec& spec, int64_t i) const {
    return spec.causal ? std::max<int64_t>(0, keys - queries + i + 1) : keys;
  }
  int64_t first_key(const AttentionSpec& spec, int64_t i) const {
    return spec.window > 0 ? std::clamp<int64_t>(keys - queries + i - spec.window + 1, 0, keys) : 0;
  }
};

inline bool takes_few_queries(const Sequence& sequence) {
  return sequence.queries <= kFewRows;
}

/// Attention of the `sequences` that takes_few_queries() is true of, as Backend::attention. All arithmetic is
/// f32.
void few_queries(const Tensor& q, const Tensor& k, const Tensor& v, const AttentionSpec& spec,
                 const std::vector<size_t>& sequences, Tensor& out, Tensor& lse);

}  // namespace fettle::cpu
