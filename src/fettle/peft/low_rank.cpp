#include "fettle/peft/low_rank.h"

#include "fettle/peft/eigen_matrix.h"

namespace fettle {
namespace {

using ConstMap = Eigen::Map<const Matrix>;

// Full decompositions of more elements than this take too long.
constexpr int64_t kFullElements = int64_t{1} << 17;
constexpr int64_t kOversampling = 16, kRounds = 8;

ConstMap mapped(const Tensor& t) {
  return {t.data<float>(), t.dim(0), t.dim(1)};
}

Tensor copied(const Matrix& m) {
  Tensor t = Tensor::empty({m.rows(), m.cols()}, DType::kF32);
  Eigen::Map<Matrix>(t.data<float>(), m.rows(), m.cols()) = m;
  return t;
}

Triplets leading(const Matrix& u, const Eigen::VectorXf& s, const Matrix& v, int64_t r) {
  r = std::min<int64_t>(r, s.size());
  Tensor values = Tensor::empty({r}, DType::kF32);
  for (int64_t i = 0; i < r; ++i) values.data<float>()[i] = s[i];
  return {copied(u.leftCols(r)), values, copied(v.leftCols(r))};
}

// w q, or wᵀ q: the products with the large matrix run on all threads.
Matrix times(const Tensor& w, const Matrix& q, bool transposed) {
  Tensor right = copied(q), out = Tensor::empty({w.dim(transposed ? 1 : 0), q.cols()}, DType::kF32);
  cpu_backend().matmul({.a = &w, .b = &right, .out = &out, .transpose_a = transposed});
  return mapped(out);
}

Triplets subspace(const Tensor& w, int64_t directions, int64_t r, int64_t rounds, uint64_t seed,
                  const std::string& name) {
  Matrix q = orthonormal(times(w, random_matrix(w.dim(1), directions, seed, name), false));
  for (int64_t i = 0; i < rounds; ++i) {
    q = orthonormal(times(w, q, true));
    q = orthonormal(times(w, q, false));
  }
  Matrix small = times(w, q, true).transpose();  // [directions, n]
  Eigen::BDCSVD<Matrix> svd(small, Eigen::ComputeThinU | Eigen::ComputeThinV);
  return leading(q * svd.matrixU(), svd.singularValues(), svd.matrixV(), r);
}

}  // namespace

Triplets largest_triplets(const Tensor& matrix, int64_t r) {
  Eigen::BDCSVD<Matrix> svd(mapped(matrix), Eigen::ComputeThinU | Eigen::ComputeThinV);
  return leading(svd.matrixU(), svd.singularValues(), svd.matrixV(), r);
}

Triplets subspace_triplets(const Tensor& matrix, int64_t r, int64_t rounds, uint64_t seed,
                           const std::string& name) {
  return subspace(matrix, r, r, rounds, seed, name);
}

Triplets best_triplets(const Tensor& matrix, int64_t r, const std::string& name) {
  if (matrix.numel() <= kFullElements) return largest_triplets(matrix, r);
  int64_t directions = std::min({r + kOversampling, matrix.dim(0), matrix.dim(1)});
  return subspace(matrix, directions, r, kRounds, 0, name);
}

Triplets product_triplets(const Tensor& b, const Tensor& a, int64_t r) {
  Matrix left = mapped(b), right = mapped(a).transpose();
  Matrix q_left = orthonormal(left), q_right = orthonormal(right);
  Matrix core = (q_left.transpose() * left) * (q_right.transpose() * right).transpose();
  Eigen::JacobiSVD<Matrix> svd(core, Eigen::ComputeThinU | Eigen::ComputeThinV);
  return leading(q_left * svd.matrixU(), svd.singularValues(), q_right * svd.matrixV(), r);
}

}  // namespace fettle
