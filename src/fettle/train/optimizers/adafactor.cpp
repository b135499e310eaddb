// Adafactor (Shazeer & Stern, arXiv 1804.04235) as transformers.optimization.Adafactor with what Trainer
// sets: scale_parameter and relative_step off, no first moment.
#include <cmath>

#include "fettle/train/optimizers/elementwise.h"
#include "fettle/train/optimizers/optimizer.h"

namespace fettle {
namespace {

constexpr double kDecayRate = -0.8;
constexpr float kEpsilon = 1e-30f;
constexpr double kClipThreshold = 1.0;

class Adafactor final : public Optimizer {
 public:
  Adafactor(Backend& backend, std::vector<Parameter*> parameters, OptimizerOptions options)
      : Optimizer(backend, std::move(parameters), std::move(options)) {
    for (size_t i = 0; i < parameters_.size(); ++i) {
      const Shape& shape = parameters_[i]->shape;
      if (shape.size() == 2)
        states_[i] = {{"exp_avg_sq_row", new_state({shape[0]})}, {"exp_avg_sq_col", new_state({shape[1]})}};
      else
        states_[i] = {{"exp_avg_sq", new_state(shape)}};
    }
  }

 protected:
  void update(size_t i, double learning_rate, float grad_scale) override {
    Parameter& p = *parameters_[i];
    const float beta = static_cast<float>(1.0 - std::pow(static_cast<double>(steps_), kDecayRate));
    Tensor change = p.gradient.clone(MemoryKind::kWorkspace);
    backend_.scale(change, grad_scale);
    if (p.shape.size() == 2)
      factored(change, states_[i][0].value.span<float>(), states_[i][1].value.span<float>(), beta);
    else
      plain(change, states_[i][0].value.data<float>(), beta);
    const double rms = std::sqrt(backend_.sum_squares(change) / static_cast<double>(change.numel()));
    const float rate = static_cast<float>(learning_rate / std::max(1.0, rms / kClipThreshold));
    if (double decay = decay_of(i); decay != 0) backend_.scale(p.value, 1.0 - learning_rate * decay);
    backend_.axpy(-rate, change, p.value);
  }

  std::vector<int64_t> update_workspace(size_t i) const override { return {parameters_[i]->numel()}; }

 private:
  static void plain(Tensor& change, float* square, float beta) {
    float* g = change.data<float>();
    for_element_runs(change.numel(), [&](int64_t begin, int64_t end) {
      for (int64_t k = begin; k < end; ++k) {
        square[k] = square[k] * beta + (g[k] * g[k] + kEpsilon) * (1.0f - beta);
        g[k] /= std::sqrt(square[k]);
      }
    });
  }

  static void factored(Tensor& change, std::span<float> row, std::span<float> column, float beta) {
    const int64_t rows = change.dim(0), columns = change.dim(1);
    float* g = change.data<float>();
    parallel_for(rows, [&](int64_t r) {
      double sum = 0;
      for (int64_t c = 0; c < columns; ++c) sum += g[r * columns + c] * g[r * columns + c] + kEpsilon;
      float& mean = row[static_cast<size_t>(r)];
      mean = mean * beta + static_cast<float>(sum / static_cast<double>(columns)) * (1.0f - beta);
    });
    constexpr int64_t kWidth = 64;
    parallel_for((columns + kWidth - 1) / kWidth, [&](int64_t run) {
      const int64_t begin = run * kWidth, end = std::min(columns, begin + kWidth);
      double sums[kWidth] = {};
      for (int64_t r = 0; r < rows; ++r)
        for (int64_t c = begin; c < end; ++c)
          sums[c - begin] += g[r * columns + c] * g[r * columns + c] + kEpsilon;
      for (int64_t c = begin; c < end; ++c) {
        float& mean = column[static_cast<size_t>(c)];
        mean = mean * beta + static_cast<float>(sums[c - begin] / static_cast<double>(rows)) * (1.0f - beta);
      }
    });
    double mean = 0;
    for (float value : row) mean += value;
    mean /= static_cast<double>(rows);
    std::vector<float> factors(column.size());
    for (size_t c = 0; c < column.size(); ++c) factors[c] = 1.0f / std::sqrt(column[c]);
    parallel_for(rows, [&](int64_t r) {
      const float factor = 1.0f / std::sqrt(static_cast<float>(row[static_cast<size_t>(r)] / mean));
      for (int64_t c = 0; c < columns; ++c) g[r * columns + c] *= factor * factors[static_cast<size_t>(c)];
    });
  }
};

}  // namespace

std::unique_ptr<Optimizer> make_adafactor(Backend& b, std::vector<Parameter*> p, OptimizerOptions o) {
  return std::make_unique<Adafactor>(b, std::move(p), std::move(o));
}

}  // namespace fettle
