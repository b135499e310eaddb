// AdamW whose moments live in a subspace of the gradient: GaLore (Zhao et al., arXiv 2403.03507) as
// galore_torch, and APOLLO (Zhu et al., arXiv 2412.05270) as apollo_torch.
#include <cmath>

#include "fettle/base/error.h"
#include "fettle/base/random.h"
#include "fettle/peft/adapter.h"
#include "fettle/peft/low_rank.h"
#include "fettle/train/optimizers/adam_ratio.h"
#include "fettle/train/optimizers/optimizer.h"

namespace fettle {
namespace {

class LowRankAdamW final : public Optimizer {
 public:
  LowRankAdamW(Backend& backend, std::vector<Parameter*> parameters, OptimizerOptions options, bool apollo)
      : Optimizer(backend, std::move(parameters), std::move(options)), apollo_(apollo) {
    int64_t projected = 0;
    for (size_t i = 0; i < parameters_.size(); ++i) {
      const Shape& shape = parameters_[i]->shape;
      if (!is_projected(i)) {
        states_[i] = {{"exp_avg", new_state(shape)}, {"exp_avg_sq", new_state(shape)}};
        continue;
      }
      ++projected;
      const int64_t r = rank_of(i);
      Shape low = on_the_right(i) ? Shape{shape[0], r} : Shape{r, shape[1]};
      // The basis as [r, n] on the right and [r, m] on the left.
      states_[i] = {{"exp_avg", new_state(low)},
                    {"exp_avg_sq", new_state(low)},
                    {"basis", new_state({r, on_the_right(i) ? shape[1] : shape[0]})}};
      if (apollo_) states_[i].push_back({"scaled_norm", new_state({1})});
    }
    if (projected == 0)
      fail_usage("{}: none of the trained parameters is a target; they are projected in full fine-tuning",
                 options_.name);
  }

 protected:
  void update(size_t i, double learning_rate, float grad_scale) override {
    Parameter& p = *parameters_[i];
    std::vector<State>& s = states_[i];
    Tensor gradient = p.gradient.clone(MemoryKind::kWorkspace);
    backend_.scale(gradient, grad_scale);
    const float beta1 = static_cast<float>(options_.beta1), beta2 = static_cast<float>(options_.beta2),
                epsilon = static_cast<float>(options_.epsilon);
    const double t = static_cast<double>(steps_);
    const float step_size = static_cast<float>(learning_rate * std::sqrt(1 - std::pow(options_.beta2, t)) /
                                               (1 - std::pow(options_.beta1, t)));
    if (!is_projected(i)) {
      adam_ratio(gradient, s[0].value, s[1].value, beta1, beta2, epsilon);
      backend_.axpy(-step_size, gradient, p.value);
    } else {
      if ((steps_ - 1) % options_.update_proj_gap == 0) renew_basis(i, gradient);
      Tensor low = project(i, gradient), ratio = low.clone(MemoryKind::kWorkspace);
      adam_ratio(ratio, s[0].value, s[1].value, beta1, beta2, epsilon);
      if (apollo_) {
        scale_gradient(i, gradient, low, ratio);
        backend_.axpy(-step_size, gradient, p.value);
      } else {
        project_back(i, ratio, gradient);
        backend_.axpy(-step_size * static_cast<float>(options_.scale), gradient, p.value);
      }
    }
    // After the update, as in both implementations.
    if (double decay = decay_of(i); decay > 0) backend_.scale(p.value, 1.0 - learning_rate * decay);
  }

  std::vector<int64_t> update_workspace(size_t i) const override {
    const int64_t all = parameters_[i]->numel();
    if (!is_projected(i)) return {all};
    const int64_t low = states_[i][0].value.numel();
    return {all, low, low};
  }

 private:
  bool is_projected(size_t i) const {
    return parameters_[i]->shape.size() == 2 && options_.projected && options_.projected(*parameters_[i]);
  }
  bool on_the_right(size_t i) const {
    const Shape& shape = parameters_[i]->shape;
    if (options_.proj_type == "right" || options_.proj_type == "left") return options_.proj_type == "right";
    return (shape[0] >= shape[1]) == (options_.proj_type == "std");
  }
  int64_t rank_of(size_t i) const {
    const Shape& shape = parameters_[i]->shape;
    return std::min({options_.rank, shape[0], shape[1]});
  }

  void renew_basis(size_t i, const Tensor& gradient) {
    Tensor& basis = states_[i][2].value;
    const int64_t r = basis.dim(0), n = basis.dim(1);
    if (apollo_ && options_.random_projection) {
      RandomStream stream({options_.seed, RandomUse::kInit, random_site(parameters_[i]->name),
                           static_cast<uint64_t>(steps_)});
      const double deviation = 1.0 / std::sqrt(static_cast<double>(r));
      for (float& value : basis.span<float>()) value = static_cast<float>(deviation * stream.normal());
      return;
    }
    Triplets t = best_triplets(gradient, r, parameters_[i]->name);
    const Tensor& vectors = on_the_right(i) ? t.v : t.u;  // [n, r]
    for (int64_t k = 0; k < r; ++k)
      for (int64_t c = 0; c < n; ++c) basis.data<float>()[k * n + c] = vectors.data<float>()[c * r + k];
  }

  Tensor project(size_t i, const Tensor& gradient) {
    const Tensor& basis = states_[i][2].value;
    Tensor low = Tensor::empty(states_[i][0].value.shape(), DType::kF32, MemoryKind::kWorkspace);
    if (on_the_right(i))
      backend_.matmul({.a = &gradient, .b = &basis, .out = &low, .transpose_b = true});
    else
      backend_.matmul({.a = &basis, .b = &gradient, .out = &low});
    return low;
  }
  void project_back(size_t i, const Tensor& low, Tensor& out) {
    const Tensor& basis = states_[i][2].value;
    if (on_the_right(i))
      backend_.matmul({.a = &low, .b = &basis, .out = &out});
    else
      backend_.matmul({.a = &basis, .b = &low, .out = &out, .transpose_a = true});
  }

  // The gradient itself, each channel scaled as much as Adam scales it in the subspace; its norm may grow by
  // 1% a step (Fira's limiter, arXiv 2410.01623).
  void scale_gradient(size_t i, Tensor& gradient, const Tensor& low, const Tensor& ratio) {
    const int64_t rows = gradient.dim(0), columns = gradient.dim(1);
    if (!options_.scale_by_channel) {
      backend_.scale(gradient,
                     std::sqrt(backend_.sum_squares(ratio)) / (std::sqrt(backend_.sum_squares(low)) + 1e-8));
    } else {
      const bool by_row = rows >= columns;
      const int64_t channels = by_row ? low.dim(0) : low.dim(1);
      std::vector<float> factors(static_cast<size_t>(channels));
      for (int64_t c = 0; c < channels; ++c) {
        double above = 0, below = 0;
        const int64_t count = by_row ? low.dim(1) : low.dim(0);
        for (int64_t k = 0; k < count; ++k) {
          const int64_t at = by_row ? c * low.dim(1) + k : k * low.dim(1) + c;
          above += std::pow(static_cast<double>(ratio.data<float>()[at]), 2);
          below += std::pow(static_cast<double>(low.data<float>()[at]), 2);
        }
        factors[static_cast<size_t>(c)] = static_cast<float>(std::sqrt(above) / (std::sqrt(below) + 1e-8));
      }
      FETTLE_CHECK(channels == (by_row ? rows : columns), "{} channels", channels);
      parallel_for(rows, [&](int64_t r) {
        float* row = gradient.data<float>() + r * columns;
        for (int64_t c = 0; c < columns; ++c) row[c] *= factors[static_cast<size_t>(by_row ? r : c)];
      });
    }
    const double root = std::sqrt(options_.scale);
    if (options_.scale_front) backend_.scale(gradient, root);
    float& before = *states_[i][3].value.data<float>();
    double norm = std::sqrt(backend_.sum_squares(gradient));
    if (steps_ > 1) {
      const double limiter = std::max(norm / (before + 1e-8), 1.01) / 1.01;
      backend_.scale(gradient, 1.0 / limiter);
      norm /= limiter;
    }
    before = static_cast<float>(norm);
    if (!options_.scale_front) backend_.scale(gradient, root);
  }

  bool apollo_;
};

}  // namespace

std::unique_ptr<Optimizer> make_galore(Backend& b, std::vector<Parameter*> p, OptimizerOptions o) {
  return std::make_unique<LowRankAdamW>(b, std::move(p), std::move(o), false);
}
std::unique_ptr<Optimizer> make_apollo(Backend& b, std::vector<Parameter*> p, OptimizerOptions o) {
  return std::make_unique<LowRankAdamW>(b, std::move(p), std::move(o), true);
}

}  // namespace fettle
