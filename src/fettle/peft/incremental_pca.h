// Principal components of rows that come batch by batch.
#pragma once
#include <string>
#include <vector>

#include "fettle/tensor/tensor.h"

namespace fettle {

/// Ross et al., "Incremental Learning for Robust Visual Tracking" (2008), as
/// peft/utils/incremental_pca.py: each batch is stacked below what is known, and the stack decomposed, by
/// eight rounds of subspace iteration on more than twice the components (PEFT: four on twice).
class IncrementalPca {
 public:
  explicit IncrementalPca(int64_t components) : wanted_(components) {}
  /// rows f32 [n, features], n at least the number of components; `name` seeds the decomposition.
  void add(const Tensor& rows, const std::string& name);
  /// f32 [components, features], the largest element of each positive; undefined before the first batch.
  const Tensor& components() const { return components_; }
  const std::vector<double>& singular_values() const { return singular_values_; }
  /// Share of the variance of all rows so far that each component explains.
  const std::vector<double>& explained_ratio() const { return explained_ratio_; }

 private:
  int64_t wanted_, seen_ = 0;
  Tensor components_;
  std::vector<double> singular_values_, explained_ratio_, mean_, variance_;
};

}  // namespace fettle
