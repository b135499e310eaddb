// m / (sqrt(v) + eps) without bias correction: the core that GaLore and APOLLO apply in a subspace.
#pragma once
#include <cmath>

#include "fettle/train/optimizers/elementwise.h"

namespace fettle {

/// Updates both moments with `gradient` and overwrites it with the ratio; all f32 of one shape.
inline void adam_ratio(Tensor& gradient, Tensor& first, Tensor& second, float beta1, float beta2,
                       float epsilon) {
  float *g = gradient.data<float>(), *m = first.data<float>(), *v = second.data<float>();
  for_element_runs(gradient.numel(), [&](int64_t begin, int64_t end) {
    for (int64_t k = begin; k < end; ++k) {
      m[k] = m[k] * beta1 + g[k] * (1.0f - beta1);
      v[k] = v[k] * beta2 + g[k] * g[k] * (1.0f - beta2);
      g[k] = m[k] / (std::sqrt(v[k]) + epsilon);
    }
  });
}

}  // namespace fettle
