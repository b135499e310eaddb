// Schedule-free AdamW and SGD (Defazio et al., arXiv 2405.15682) as schedulefree's AdamWScheduleFree and
// SGDScheduleFree. Parameters hold y, where gradients are taken; what is evaluated and saved is the average
// x.
#include <cmath>

#include "fettle/train/optimizers/elementwise.h"
#include "fettle/train/optimizers/optimizer.h"

namespace fettle {
namespace {

class ScheduleFree final : public Optimizer {
 public:
  ScheduleFree(Backend& backend, std::vector<Parameter*> parameters, OptimizerOptions options, bool adam)
      : Optimizer(backend, std::move(parameters), std::move(options)), adam_(adam) {
    for (size_t i = 0; i < parameters_.size(); ++i) {
      Tensor z = new_state(parameters_[i]->shape);
      z.assign(parameters_[i]->value.raw(), z.nbytes());
      states_[i] = {{"z", z}};
      if (adam_) states_[i].push_back({"exp_avg_sq", new_state(parameters_[i]->shape)});
    }
    shared_states_ = {{"weight_sum", Tensor::zeros({1}, DType::kF64, MemoryKind::kOptimizer)},
                      {"lr_max", Tensor::zeros({1}, DType::kF64, MemoryKind::kOptimizer)}};
  }

  void rehearse_step() const override {
    std::vector<Tensor> kept;
    for (const Parameter* parameter : parameters_)
      kept.push_back(parameter->value.clone(MemoryKind::kOptimizer));
  }

  void show_average(bool shown) override {
    if (shown == !kept_.empty()) return;
    if (!shown) {
      for (size_t i = 0; i < parameters_.size(); ++i)
        parameters_[i]->value.assign(kept_[i].raw(), kept_[i].nbytes());
      kept_.clear();
      return;
    }
    const float weight = static_cast<float>(1.0 - 1.0 / beta());
    for (size_t i = 0; i < parameters_.size(); ++i) {
      // Kept as it is: the way back through x would round.
      Tensor& value = parameters_[i]->value;
      kept_.push_back(value.clone(MemoryKind::kOptimizer));
      float* y = value.data<float>();
      const float* z = states_[i][0].value.data<float>();
      for (int64_t k = 0; k < value.numel(); ++k) y[k] += weight * (z[k] - y[k]);
    }
  }

 protected:
  // The average that a step joins depends on the learning rates of all steps before it.
  void begin_step(double learning_rate) override {
    const double k = static_cast<double>(steps_ - 1), warmup = static_cast<double>(options_.warmup_steps);
    warm_ = k < warmup ? (k + 1) / warmup : 1.0;
    double &sum = *shared_states_[0].value.data<double>(), &most = *shared_states_[1].value.data<double>();
    most = std::max(most, learning_rate * warm_);
    const double weight = std::pow(k + 1, options_.r) * std::pow(most, options_.weight_lr_power);
    sum += weight;
    share_ = sum > 0 ? weight / sum : 0;
  }

  void update(size_t i, double learning_rate, float grad_scale) override {
    Parameter& p = *parameters_[i];
    const double rate = learning_rate * warm_;
    const float correction = static_cast<float>(1.0 - std::pow(options_.beta2, static_cast<double>(steps_)));
    const float beta2 = static_cast<float>(options_.beta2), epsilon = static_cast<float>(options_.epsilon);
    const float decay = static_cast<float>(decay_of(i)), share = static_cast<float>(share_);
    const float y_rate = static_cast<float>(rate * (beta() * (1 - share_) - 1)),
                z_rate = static_cast<float>(rate);
    float *y = p.value.data<float>(), *z = states_[i][0].value.data<float>();
    float* v = adam_ ? states_[i][1].value.data<float>() : nullptr;
    const float* gradient = p.gradient.data<float>();
    for_element_runs(p.numel(), [&](int64_t begin, int64_t end) {
      for (int64_t k = begin; k < end; ++k) {
        float g = gradient[k] * grad_scale;
        if (v) {
          v[k] = v[k] * beta2 + g * g * (1.0f - beta2);
          g /= std::sqrt(v[k] / correction) + epsilon;
        }
        g += decay * y[k];
        y[k] += share * (z[k] - y[k]);
        y[k] += y_rate * g;
        z[k] -= z_rate * g;
      }
    });
  }

 private:
  // SGDScheduleFree calls it momentum, 0.9 by default as beta1.
  double beta() const { return !adam_ && options_.momentum > 0 ? options_.momentum : options_.beta1; }

  bool adam_;
  double warm_ = 1, share_ = 0;
  std::vector<Tensor> kept_;
};

}  // namespace

std::unique_ptr<Optimizer> make_schedule_free_adamw(Backend& b, std::vector<Parameter*> p,
                                                    OptimizerOptions o) {
  return std::make_unique<ScheduleFree>(b, std::move(p), std::move(o), true);
}
std::unique_ptr<Optimizer> make_schedule_free_sgd(Backend& b, std::vector<Parameter*> p, OptimizerOptions o) {
  return std::make_unique<ScheduleFree>(b, std::move(p), std::move(o), false);
}

}  // namespace fettle
