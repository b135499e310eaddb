// What the tests of methods ask of a model.
#pragma once
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <map>
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

/// Steps of AdamW (weight decay 0), one for each wanted loss. `loss_of(step)`, steps from 1, leaves the
/// gradients and gives the loss; `after_step(step)` comes behind the update.
inline void take_steps(const std::vector<Parameter*>& parameters, const std::vector<double>& wanted_losses,
                       float learning_rate, const std::function<double(int64_t)>& loss_of,
                       const std::function<void(int64_t)>& after_step) {
  std::map<Parameter*, std::pair<Tensor, Tensor>> moments;
  for (Parameter* p : parameters)
    moments[p] = {Tensor::zeros(p->shape, DType::kF32), Tensor::zeros(p->shape, DType::kF32)};
  for (size_t i = 0; i < wanted_losses.size(); ++i) {
    const auto step = static_cast<int64_t>(i + 1);
    EXPECT_NEAR(loss_of(step), wanted_losses[i], 2e-4) << "step " << step;
    AdamWArgs args{.learning_rate = learning_rate,
                   .beta1 = 0.9f,
                   .beta2 = 0.999f,
                   .epsilon = 1e-8f,
                   .weight_decay = 0.0f,
                   .step = step};
    for (Parameter* p : parameters)
      cpu_backend().adamw(p->value, p->gradient_buffer(), moments[p].first, moments[p].second, args);
    after_step(step);
  }
}

/// A weight after steps of Adam. Adam divides by the size of the gradient, so elements whose first gradient
/// is rounding noise may differ by a step.
inline void expect_stepped(const Parameter& parameter, const Tensor& want, const Tensor& first_gradient) {
  ASSERT_EQ(parameter.numel(), want.numel()) << parameter.name;
  float largest = 0;
  for (float g : first_gradient.span<float>()) largest = std::max(largest, std::abs(g));
  int64_t far = 0;
  for (int64_t i = 0; i < parameter.numel(); ++i)
    far += std::abs(first_gradient.data<float>()[i]) > 1e-5f * largest &&
           std::abs(parameter.value.data<float>()[i] - want.data<float>()[i]) > 2e-4;
  EXPECT_LE(far, parameter.numel() / 50) << parameter.name;
}

}  // namespace fettle::test
