// Matrices as products of thin factors.
#pragma once
#include <string>

#include "fettle/tensor/tensor.h"

namespace fettle {

/// The `r` largest singular triplets of a matrix [m, n]: u diag(s) vᵀ.
struct Triplets {
  Tensor u;  ///< f32 [m, r]
  Tensor s;  ///< f32 [r], falling
  Tensor v;  ///< f32 [n, r]
};

/// By a full decomposition (Eigen's divide and conquer).
Triplets largest_triplets(const Tensor& matrix, int64_t r);
/// torch.svd_lowrank (Halko et al., arXiv 0909.4061, algorithm 5.1 on the range of algorithm 4.4), started
/// from normal numbers of `seed` and `name`.
Triplets subspace_triplets(const Tensor& matrix, int64_t r, int64_t rounds, uint64_t seed,
                           const std::string& name);
/// The first of the two while it takes a fraction of a second, else the second with eight rounds on r + 16
/// directions, which is exact for a matrix of rank up to r.
Triplets best_triplets(const Tensor& matrix, int64_t r, const std::string& name);
/// Of the product b a, b [m, k], a [k, n], without forming it: exact. r is at most k.
Triplets product_triplets(const Tensor& b, const Tensor& a, int64_t r);

}  // namespace fettle
