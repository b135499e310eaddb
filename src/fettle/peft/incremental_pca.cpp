#include "fettle/peft/incremental_pca.h"

#include <algorithm>
#include <cmath>

#include "fettle/peft/low_rank.h"

namespace fettle {

void IncrementalPca::add(const Tensor& rows, const std::string& name) {
  const int64_t n = rows.dim(0), width = rows.dim(1);
  const float* x = rows.data<float>();
  std::vector<double> batch_mean(static_cast<size_t>(width)), batch_square(static_cast<size_t>(width));
  for (int64_t i = 0; i < n; ++i)
    for (int64_t c = 0; c < width; ++c) batch_mean[static_cast<size_t>(c)] += x[i * width + c];
  for (double& m : batch_mean) m /= static_cast<double>(n);
  for (int64_t i = 0; i < n; ++i)
    for (int64_t c = 0; c < width; ++c) {
      double d = x[i * width + c] - batch_mean[static_cast<size_t>(c)];
      batch_square[static_cast<size_t>(c)] += d * d;
    }

  // The stack: known components by their weight, the centred batch, and how far the mean has moved.
  const int64_t known = components_.defined() ? components_.dim(0) : 0;
  const int64_t total = seen_ + n, height = n + (known ? known + 1 : 0);
  Tensor stack = Tensor::empty({height, width}, DType::kF32);
  float* out = stack.data<float>();
  for (int64_t i = 0; i < known; ++i)
    for (int64_t c = 0; c < width; ++c)
      *out++ = static_cast<float>(singular_values_[static_cast<size_t>(i)] *
                                  components_.data<float>()[i * width + c]);
  for (int64_t i = 0; i < n; ++i)
    for (int64_t c = 0; c < width; ++c)
      *out++ = x[i * width + c] - static_cast<float>(batch_mean[static_cast<size_t>(c)]);
  if (known) {
    const double weight =
        std::sqrt(static_cast<double>(seen_) / static_cast<double>(total) * static_cast<double>(n));
    for (int64_t c = 0; c < width; ++c)
      *out++ =
          static_cast<float>(weight * (mean_[static_cast<size_t>(c)] - batch_mean[static_cast<size_t>(c)]));
  }

  if (mean_.empty()) {
    mean_.assign(static_cast<size_t>(width), 0);
    variance_.assign(static_cast<size_t>(width), 0);
  }
  double variance_sum = 0;
  for (size_t c = 0; c < static_cast<size_t>(width); ++c) {
    const double before = mean_[c] * static_cast<double>(seen_),
                 added = batch_mean[c] * static_cast<double>(n);
    double square = variance_[c] * static_cast<double>(seen_) + batch_square[c];
    if (seen_ > 0) {
      const double ratio = static_cast<double>(seen_) / static_cast<double>(n), gap = before / ratio - added;
      square += ratio / static_cast<double>(total) * gap * gap;
    }
    mean_[c] = (before + added) / static_cast<double>(total);
    variance_[c] = square / static_cast<double>(total);
    variance_sum += square;
  }

  const int64_t directions = std::min({2 * wanted_ + 8, height, width});
  Triplets t = subspace_triplets(stack, directions, 8, 42, name);
  const int64_t count = std::min(wanted_, t.s.dim(0));
  components_ = Tensor::empty({count, width}, DType::kF32);
  singular_values_.assign(static_cast<size_t>(count), 0);
  explained_ratio_.assign(static_cast<size_t>(count), 0);
  for (int64_t i = 0; i < count; ++i) {
    const float* v = t.v.data<float>() + i;
    const int64_t stride = t.v.dim(1);
    int64_t largest = 0;
    for (int64_t c = 1; c < width; ++c)
      if (std::abs(v[c * stride]) > std::abs(v[largest * stride])) largest = c;
    const float sign = v[largest * stride] < 0 ? -1.0f : 1.0f;
    for (int64_t c = 0; c < width; ++c) components_.data<float>()[i * width + c] = sign * v[c * stride];
    const double s = t.s.data<float>()[i];
    singular_values_[static_cast<size_t>(i)] = s;
    explained_ratio_[static_cast<size_t>(i)] = variance_sum > 0 ? s * s / variance_sum : 0;
  }
  seen_ = total;
}

}  // namespace fettle
