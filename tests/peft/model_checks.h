// What the tests of methods ask of a model.
#pragma once
#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <vector>

#include "fettle/models/causal_lm.h"

namespace fettle::test {

/// Logits of one row, f32 [tokens, vocab_size].
inline Tensor logits(CausalLM& model, const std::vector<int32_t>& ids) {
  Context context{.backend = &cpu_backend(), .compute = DType::kF32};
  return model.logits(context, model.hidden_states(context, make_input({ids}))).value;
}

/// Every value within `tolerance` of the largest wanted one.
inline void expect_near(const Tensor& got, const Tensor& want, double tolerance, const std::string& what) {
  ASSERT_EQ(got.numel(), want.numel()) << what;
  double largest = 1e-4, most = 0;
  for (int64_t i = 0; i < want.numel(); ++i) {
    largest = std::max(largest, static_cast<double>(std::abs(want.data<float>()[i])));
    most = std::max(most, static_cast<double>(std::abs(got.data<float>()[i] - want.data<float>()[i])));
  }
  EXPECT_LE(most, tolerance * largest) << what;
}

}  // namespace fettle::test
