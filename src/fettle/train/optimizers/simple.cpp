// SGD, Adagrad and RMSprop as torch.optim's, Lion (Chen et al., arXiv 2302.06675) as lion-pytorch and
// bitsandbytes.
#include <cmath>

#include "fettle/train/optimizers/elementwise.h"
#include "fettle/train/optimizers/optimizer.h"

namespace fettle {
namespace {

// Decay of these is part of the gradient, as torch's weight_decay of SGD.
class Simple : public Optimizer {
 public:
  Simple(Backend& backend, std::vector<Parameter*> parameters, OptimizerOptions options,
         const std::vector<const char*>& states)
      : Optimizer(backend, std::move(parameters), std::move(options)) {
    for (size_t i = 0; i < parameters_.size(); ++i)
      for (const char* name : states) states_[i].push_back({name, new_state(parameters_[i]->shape)});
  }

 protected:
  float* state(size_t i, size_t k) {
    return k < states_[i].size() ? states_[i][k].value.data<float>() : nullptr;
  }
};

class Sgd final : public Simple {
 public:
  Sgd(Backend& b, std::vector<Parameter*> p, OptimizerOptions o)
      : Simple(b, std::move(p), o,
               o.momentum != 0 ? std::vector<const char*>{"momentum_buffer"} : std::vector<const char*>{}) {}

 protected:
  void update(size_t i, double learning_rate, float grad_scale) override {
    Parameter& p = *parameters_[i];
    const float rate = static_cast<float>(learning_rate), decay = static_cast<float>(decay_of(i));
    const float momentum = static_cast<float>(options_.momentum),
                damp = 1.0f - static_cast<float>(options_.dampening);
    float *x = p.value.data<float>(), *buffer = state(i, 0);
    const float* g = p.gradient.data<float>();
    for_element_runs(p.numel(), [&](int64_t begin, int64_t end) {
      for (int64_t k = begin; k < end; ++k) {
        float d = g[k] * grad_scale + decay * x[k];
        if (buffer) {
          buffer[k] = steps_ == 1 ? d : momentum * buffer[k] + damp * d;
          d = options_.nesterov ? d + momentum * buffer[k] : buffer[k];
        }
        x[k] -= rate * d;
      }
    });
  }
};

class Adagrad final : public Simple {
 public:
  Adagrad(Backend& b, std::vector<Parameter*> p, OptimizerOptions o)
      : Simple(b, std::move(p), std::move(o), {"sum"}) {}

 protected:
  void update(size_t i, double learning_rate, float grad_scale) override {
    Parameter& p = *parameters_[i];
    const float rate =
        static_cast<float>(learning_rate / (1.0 + static_cast<double>(steps_ - 1) * options_.lr_decay));
    const float decay = static_cast<float>(decay_of(i)), epsilon = static_cast<float>(options_.epsilon);
    float *x = p.value.data<float>(), *sum = state(i, 0);
    const float* g = p.gradient.data<float>();
    for_element_runs(p.numel(), [&](int64_t begin, int64_t end) {
      for (int64_t k = begin; k < end; ++k) {
        const float d = g[k] * grad_scale + decay * x[k];
        sum[k] += d * d;
        x[k] -= rate * d / (std::sqrt(sum[k]) + epsilon);
      }
    });
  }
};

class RmsProp final : public Simple {
 public:
  RmsProp(Backend& b, std::vector<Parameter*> p, OptimizerOptions o) : Simple(b, std::move(p), o, names(o)) {}

 protected:
  void update(size_t i, double learning_rate, float grad_scale) override {
    Parameter& p = *parameters_[i];
    const float rate = static_cast<float>(learning_rate), decay = static_cast<float>(decay_of(i));
    const float alpha = static_cast<float>(options_.alpha), epsilon = static_cast<float>(options_.epsilon);
    const float momentum = static_cast<float>(options_.momentum);
    float *x = p.value.data<float>(), *square = state(i, 0);
    float* mean = options_.centered ? state(i, 1) : nullptr;
    float* buffer = momentum > 0 ? state(i, options_.centered ? 2 : 1) : nullptr;
    const float* g = p.gradient.data<float>();
    for_element_runs(p.numel(), [&](int64_t begin, int64_t end) {
      for (int64_t k = begin; k < end; ++k) {
        const float d = g[k] * grad_scale + decay * x[k];
        square[k] = alpha * square[k] + (1.0f - alpha) * d * d;
        float variance = square[k];
        if (mean) {
          mean[k] += (1.0f - alpha) * (d - mean[k]);
          variance -= mean[k] * mean[k];
        }
        float change = d / (std::sqrt(variance) + epsilon);
        if (buffer) change = buffer[k] = momentum * buffer[k] + change;
        x[k] -= rate * change;
      }
    });
  }

 private:
  static std::vector<const char*> names(const OptimizerOptions& o) {
    std::vector<const char*> all = {"square_avg"};
    if (o.centered) all.push_back("grad_avg");
    if (o.momentum > 0) all.push_back("momentum_buffer");
    return all;
  }
};

class Lion final : public Simple {
 public:
  Lion(Backend& b, std::vector<Parameter*> p, OptimizerOptions o)
      : Simple(b, std::move(p), std::move(o), {"exp_avg"}) {}

 protected:
  void update(size_t i, double learning_rate, float grad_scale) override {
    Parameter& p = *parameters_[i];
    const float rate = static_cast<float>(learning_rate),
                keep = static_cast<float>(1.0 - learning_rate * decay_of(i));
    const float beta1 = static_cast<float>(options_.beta1), beta2 = static_cast<float>(options_.beta2);
    float *x = p.value.data<float>(), *m = state(i, 0);
    const float* gradient = p.gradient.data<float>();
    for_element_runs(p.numel(), [&](int64_t begin, int64_t end) {
      for (int64_t k = begin; k < end; ++k) {
        const float g = gradient[k] * grad_scale, direction = m[k] * beta1 + g * (1.0f - beta1);
        x[k] = x[k] * keep - rate * static_cast<float>((direction > 0) - (direction < 0));
        m[k] = m[k] * beta2 + g * (1.0f - beta2);
      }
    });
  }
};

}  // namespace

std::unique_ptr<Optimizer> make_sgd(Backend& b, std::vector<Parameter*> p, OptimizerOptions o) {
  return std::make_unique<Sgd>(b, std::move(p), std::move(o));
}
std::unique_ptr<Optimizer> make_adagrad(Backend& b, std::vector<Parameter*> p, OptimizerOptions o) {
  return std::make_unique<Adagrad>(b, std::move(p), std::move(o));
}
std::unique_ptr<Optimizer> make_rmsprop(Backend& b, std::vector<Parameter*> p, OptimizerOptions o) {
  return std::make_unique<RmsProp>(b, std::move(p), std::move(o));
}
std::unique_ptr<Optimizer> make_lion(Backend& b, std::vector<Parameter*> p, OptimizerOptions o) {
  return std::make_unique<Lion>(b, std::move(p), std::move(o));
}

}  // namespace fettle
