// Muon (Jordan, kellerjordan.github.io/posts/muon) with the scale of Moonlight (Liu et al., arXiv
// 2502.16982), as LLaMA-Factory's use_muon and torch.optim.Muon(adjust_lr_fn="match_rms_adamw"), in f32
// instead of bf16. Matrices that are no embedding and no head; AdamW for the rest.
#include <cmath>

#include "fettle/train/optimizers/adam_ratio.h"
#include "fettle/train/optimizers/optimizer.h"

namespace fettle {
namespace {

constexpr float kMomentum = 0.95f;
constexpr double kEpsilon = 1e-7;
constexpr int kRounds = 5;
constexpr float kA = 3.4445f, kB = -4.7750f, kC = 2.0315f;

bool is_matrix(const Parameter& p) {
  return p.shape.size() == 2 && p.name.find("embed") == std::string::npos &&
         p.name.find("lm_head") == std::string::npos;
}

class Muon final : public Optimizer {
 public:
  Muon(Backend& backend, std::vector<Parameter*> parameters, OptimizerOptions options)
      : Optimizer(backend, std::move(parameters), std::move(options)) {
    for (size_t i = 0; i < parameters_.size(); ++i) {
      const Shape& shape = parameters_[i]->shape;
      if (is_matrix(*parameters_[i]))
        states_[i] = {{"momentum_buffer", new_state(shape)}};
      else
        states_[i] = {{"exp_avg", new_state(shape)}, {"exp_avg_sq", new_state(shape)}};
    }
  }

 protected:
  void update(size_t i, double learning_rate, float grad_scale) override {
    Parameter& p = *parameters_[i];
    if (!is_matrix(p)) return adamw_step(i, learning_rate, grad_scale);
    Tensor direction = p.gradient.clone(MemoryKind::kWorkspace);
    float *d = direction.data<float>(), *buffer = states_[i][0].value.data<float>();
    for_element_runs(p.numel(), [&](int64_t begin, int64_t end) {
      for (int64_t k = begin; k < end; ++k) {
        const float g = d[k] * grad_scale;
        buffer[k] += (1.0f - kMomentum) * (g - buffer[k]);
        d[k] = g + kMomentum * (buffer[k] - g);
      }
    });
    direction = orthogonalized(direction);
    const double rate =
        learning_rate * 0.2 * std::sqrt(static_cast<double>(std::max(p.shape[0], p.shape[1])));
    backend_.scale(p.value, 1.0 - learning_rate * decay_of(i));
    backend_.axpy(static_cast<float>(-rate), direction, p.value);
  }

  std::vector<int64_t> update_workspace(size_t i) const override {
    const Parameter& p = *parameters_[i];
    if (!is_matrix(p)) return {};
    const int64_t n = std::min(p.shape[0], p.shape[1]);
    return {p.numel(), p.numel(), n * n, n * n};
  }

 private:
  // Newton–Schulz towards U Vᵀ: X <- a X + (b X Xᵀ + c (X Xᵀ)²) X, on the side with the smaller Gram matrix.
  Tensor orthogonalized(Tensor x) {
    const bool tall = x.dim(0) > x.dim(1);
    const int64_t n = std::min(x.dim(0), x.dim(1));
    backend_.scale(x, 1.0 / std::max(std::sqrt(backend_.sum_squares(x)), kEpsilon));
    Tensor gram = Tensor::empty({n, n}, DType::kF32, MemoryKind::kWorkspace);
    Tensor polynomial = gram.clone(MemoryKind::kWorkspace), next = x.clone(MemoryKind::kWorkspace);
    for (int round = 0; round < kRounds; ++round) {
      backend_.matmul({.a = &x, .b = &x, .out = &gram, .transpose_a = tall, .transpose_b = !tall});
      polynomial.assign(gram.raw(), gram.nbytes());
      backend_.matmul({.a = &gram, .b = &gram, .out = &polynomial, .alpha = kC, .beta = kB});
      next.assign(x.raw(), x.nbytes());
      if (tall)
        backend_.matmul({.a = &x, .b = &polynomial, .out = &next, .beta = kA});
      else
        backend_.matmul({.a = &polynomial, .b = &x, .out = &next, .beta = kA});
      std::swap(x, next);
    }
    return x;
  }
};

}  // namespace

std::unique_ptr<Optimizer> make_muon(Backend& b, std::vector<Parameter*> p, OptimizerOptions o) {
  return std::make_unique<Muon>(b, std::move(p), std::move(o));
}

}  // namespace fettle
