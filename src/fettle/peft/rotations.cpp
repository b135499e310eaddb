#include "fettle/peft/rotations.h"

// One thread, so that results do not depend on the number of threads.
#define EIGEN_DONT_PARALLELIZE
#include <Eigen/Dense>

#include "fettle/base/random.h"
#include "fettle/base/threads.h"

namespace fettle {
namespace {

using Matrix = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

Eigen::Map<Matrix> block(Tensor& t, int64_t n) {
  int64_t size = t.dim(1);
  return {t.data<float>() + n * size * size, size, size};
}
Eigen::Map<const Matrix> block(const Tensor& t, int64_t n) {
  int64_t size = t.dim(1);
  return {t.data<float>() + n * size * size, size, size};
}

// A function of every block and its gradient.
template <typename Forward, typename Backward>
Var by_blocks(Context& context, const Var& x, Forward forward, Backward backward) {
  Tensor y = Tensor::empty(x.value.shape(), DType::kF32);
  parallel_for(y.dim(0), [&](int64_t n) { block(y, n) = forward(Matrix(block(x.value, n))); });
  Var result(y, context.records(x.requires_grad()));
  if (result.slot)
    context.tape->record([context, x, backward, out = result.slot] {
      if (!out->defined()) return;
      Tensor dy = out->take(x.value.shape()), dx = Tensor::empty(x.value.shape(), DType::kF32);
      parallel_for(dx.dim(0), [&](int64_t n) {
        block(dx, n) = backward(Matrix(block(x.value, n)), Matrix(block(dy, n)));
      });
      x.slot->accumulate(*context.backend, dx);
    });
  return result;
}

}  // namespace

Var skew_from_vectors(Context& context, Parameter& vectors, int64_t size) {
  int64_t count = vectors.shape[0], length = vectors.shape[1];
  Tensor skew = Tensor::zeros({count, size, size}, DType::kF32);
  for (int64_t n = 0; n < count; ++n) {
    const float* v = vectors.value.data<float>() + n * length;
    auto s = block(skew, n);
    for (int64_t i = 0; i < size; ++i)
      for (int64_t j = i + 1; j < size; ++j, ++v) {
        s(i, j) = *v;
        s(j, i) = -*v;
      }
  }
  Var result(skew, context.records(vectors.trainable));
  if (result.slot)
    context.tape->record([&vectors, size, count, length, out = result.slot] {
      if (!out->defined()) return;
      const Tensor d = out->take({count, size, size});
      for (int64_t n = 0; n < count; ++n) {
        float* g = vectors.gradient_buffer().data<float>() + n * length;
        auto s = block(d, n);
        for (int64_t i = 0; i < size; ++i)
          for (int64_t j = i + 1; j < size; ++j, ++g) *g += s(i, j) - s(j, i);
      }
    });
  return result;
}

Var skew_part(Context& context, Parameter& squares) {
  int64_t size = squares.shape.back();
  Var leaves = reshape(leaf(context, squares), {squares.numel() / (size * size), size, size});
  return by_blocks(
      context, leaves, [](const Matrix& d) -> Matrix { return 0.5f * (d - d.transpose()); },
      [](const Matrix&, const Matrix& g) -> Matrix { return 0.5f * (g - g.transpose()); });
}

Var cayley(Context& context, const Var& skew) {
  auto inverse = [](const Matrix& s) -> Matrix {
    return (Matrix::Identity(s.rows(), s.cols()) + s).partialPivLu().inverse();
  };
  // X = (I - S) M with M = (I + S)⁻¹ gives dX = -(I + X) dS M = -2 M dS M.
  return by_blocks(
      context, skew,
      [inverse](const Matrix& s) -> Matrix {
        return (Matrix::Identity(s.rows(), s.cols()) - s) * inverse(s);
      },
      [inverse](const Matrix& s, const Matrix& g) -> Matrix {
        Matrix m = inverse(s).transpose();
        return -2.0f * (m * g * m);
      });
}

Var cayley_neumann(Context& context, const Var& skew, int64_t terms) {
  // Coefficients of S, S², … after I.
  std::vector<float> coefficients;
  if (terms > 1) coefficients.push_back(2.0f);
  if (terms > 2) {
    coefficients.push_back(2.0f);
    for (int64_t k = 3; k < terms - 1; ++k) coefficients.push_back(2.0f);
    coefficients.push_back(1.0f);
  }
  return by_blocks(
      context, skew,
      [coefficients](const Matrix& s) -> Matrix {
        Matrix sum = Matrix::Identity(s.rows(), s.cols()), power = s;
        for (size_t k = 0; k < coefficients.size(); ++k) {
          sum += coefficients[k] * power;
          if (k + 1 < coefficients.size()) power = Matrix(power * s);
        }
        return sum;
      },
      [coefficients](const Matrix& s, const Matrix& g) -> Matrix {
        std::vector<Matrix> powers;  // S⁰ … S^(K-1)
        powers.push_back(Matrix::Identity(s.rows(), s.cols()));
        for (size_t k = 1; k < coefficients.size(); ++k) powers.push_back(powers.back() * s);
        Matrix ds = Matrix::Zero(s.rows(), s.cols()), dpower = ds;
        // P_k = P_(k-1) S, from the highest power down.
        for (size_t k = coefficients.size(); k-- > 0;) {
          dpower += coefficients[k] * g;
          ds += powers[k].transpose() * dpower;
          dpower = Matrix(dpower * s.transpose());
        }
        return ds;
      });
}

Var drop_blocks(Context& context, const Var& blocks, int64_t factors, double share, uint32_t site) {
  const int64_t count = blocks.value.dim(0) / factors, size = blocks.value.dim(1);
  const auto dropped_count = static_cast<int64_t>(share * static_cast<double>(count));
  if (!context.training || dropped_count == 0) return blocks;
  const RandomKey key{context.seed, RandomUse::kDropout, site, context.step};
  const int64_t first = static_cast<int64_t>(RandomStream(key).below(static_cast<uint64_t>(factors))) * count;
  std::vector<int64_t> dropped = random_permutation(count, key);
  dropped.resize(static_cast<size_t>(dropped_count));
  for (int64_t& n : dropped) n += first;
  Tensor y = blocks.value.clone();
  for (int64_t n : dropped) block(y, n).setIdentity(size, size);
  Var result(y, context.records(blocks.requires_grad()));
  if (result.slot)
    context.tape->record([context, dropped, blocks, out = result.slot] {
      if (!out->defined()) return;
      Tensor d = out->take(blocks.value.shape());
      for (int64_t n : dropped) block(d, n).setZero();
      blocks.slot->accumulate(*context.backend, d);
    });
  return result;
}

}  // namespace fettle
