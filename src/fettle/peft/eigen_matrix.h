// Eigen's dense matrices over tensors, for decompositions. Included by .cpp files of peft/ only.
#pragma once

// One thread, so that results do not depend on the number of threads.
#define EIGEN_DONT_PARALLELIZE
#include <Eigen/Dense>
#include <algorithm>
#include <string>

#include "fettle/base/random.h"
#include "fettle/peft/adapter.h"

namespace fettle {

/// Row-major, so that tensors are mapped without a copy.
using Matrix = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

/// Normal numbers of `seed` and `name`.
inline Matrix random_matrix(int64_t rows, int64_t cols, uint64_t seed, const std::string& name) {
  RandomStream stream({seed, RandomUse::kInit, random_site(name), 1});
  Matrix m(rows, cols);
  for (int64_t i = 0; i < m.size(); ++i) m.data()[i] = static_cast<float>(stream.normal());
  return m;
}

/// The first columns of Q in the QR decomposition of a tall matrix.
inline Matrix orthonormal(const Matrix& m) {
  Eigen::HouseholderQR<Matrix> qr(m);
  return qr.householderQ() * Matrix::Identity(m.rows(), std::min(m.rows(), m.cols()));
}

}  // namespace fettle
