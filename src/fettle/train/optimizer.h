// AdamW over named parameters with Trainer's two groups.
#pragma once
#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "fettle/autograd/tape.h"

namespace fettle {

struct AdamWOptions {
  double beta1 = 0.9, beta2 = 0.999, epsilon = 1e-8, weight_decay = 0.0;
  /// Factor of the learning rate of a parameter (LoRA+); empty: 1 for all.
  std::function<double(const Parameter&)> learning_rate_factor = {};
};

/// Whether Trainer's create_optimizer decays a parameter: not biases and not the weights of norms.
bool decays(const std::string& parameter_name);

class AdamW {
 public:
  AdamW(Backend& backend, std::vector<Parameter*> parameters, AdamWOptions options);
  /// One update with gradients multiplied by `grad_scale`.
  void step(double learning_rate, double grad_scale);
  void zero_grad();
  /// Global L2 norm of all gradients, summed in parameter order.
  double gradient_norm() const;
  /// True when every gradient is finite; else `first` names the first bad parameter.
  bool gradients_finite(std::string* first) const;
  int64_t steps() const { return steps_; }
  /// Weights and both moments of every parameter as <name>, <name>.exp_avg, <name>.exp_avg_sq, all f32.
  void write(const std::filesystem::path& path) const;
  /// The way back, after `steps` updates. Error(kBadInput) when a tensor is missing or has another shape.
  void read(const std::filesystem::path& path, int64_t steps);
  const std::vector<Parameter*>& parameters() const { return parameters_; }

 private:
  struct State {
    Tensor m, v;
  };
  Backend& backend_;
  std::vector<Parameter*> parameters_;
  std::vector<State> states_;
  AdamWOptions options_;
  int64_t steps_ = 0;
};

}  // namespace fettle
