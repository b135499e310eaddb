#include "fettle/peft/dora.h"

#include <cmath>

#include "fettle/base/error.h"
#include "fettle/peft/dense_weight.h"

namespace fettle {
DoraMethod::DoraMethod(Linear& linear, int64_t rank, double scale, double dropout)
    : LoraMethod(linear, rank, scale, dropout, false),
      magnitude(adapter_parameter(linear.path + ".lora_magnitude_vector", {linear.out_features})) {
  if (!linear.methods.empty())
    fail_usage("{}: DoRA needs the plain linear, but another adapter is mounted there", linear.path);
}

// 256 rows of W + s B A at a time.
Tensor DoraMethod::inverse_norms(const Linear& linear) const {
  constexpr int64_t kChunk = 256;
  Tensor inverse = Tensor::empty({linear.out_features}, DType::kF32);
  for (int64_t begin = 0; begin < linear.out_features; begin += kChunk) {
    int64_t end = std::min(linear.out_features, begin + kChunk);
    Tensor rows = dense_weight_rows(linear, begin, end);
    add_low_rank(rows, b->value.rows_view(begin, end), a->value, term.scale);
    for (int64_t r = begin; r < end; ++r)
      inverse.data<float>()[r] = static_cast<float>(
          1.0 / std::sqrt(cpu_backend().sum_squares(rows.rows_view(r - begin, r - begin + 1))));
  }
  return inverse;
}

void DoraMethod::initialise_magnitude(const Linear& linear) {
  Tensor inverse = inverse_norms(linear);
  for (int64_t i = 0; i < inverse.numel(); ++i)
    magnitude->value.data<float>()[i] = 1.0f / inverse.data<float>()[i];
}

Var DoraMethod::forward(Context& context, const LinearBelow& below, const Var& x) {
  Linear& base = below.linear();
  if (below.top()) fail_usage("{}: DoRA needs the plain weight below it; name its adapter first", base.path);
  Var g = multiply(context, leaf(context, *magnitude), Var(inverse_norms(base)));
  LoraTerm plain = term;
  plain.dropout = 0;
  if (!context.training || term.dropout <= 0) {
    Var h = linear(context, x, *base.weight, nullptr, base.conv1d, {plain});
    return scale_columns(context, h, g, base.bias.get());
  }
  // With dropout PEFT's gain sees the dropped input but the base itself does not:
  // y = W x + bias + (g - 1) ⊙ W x' + g ⊙ s B A x'.
  Var dropped = dropout(context, x, term.dropout, term.site);
  Var direct = linear(context, x, *base.weight, base.bias.get(), base.conv1d);
  Var minus = scale(context, linear(context, dropped, *base.weight, nullptr, base.conv1d), -1.0f);
  Var gained =
      scale_columns(context, linear(context, dropped, *base.weight, nullptr, base.conv1d, {plain}), g);
  return add(context, add(context, direct, minus), gained);
}

std::vector<Parameter*> DoraMethod::parameters() {
  return {a.get(), b.get(), magnitude.get()};
}

void DoraMethod::merge(Tensor& weight, Tensor& bias) const {
  LoraMethod::merge(weight, bias);
  for (int64_t r = 0; r < weight.dim(0); ++r) {
    Tensor row = weight.rows_view(r, r + 1);
    double norm = std::sqrt(cpu_backend().sum_squares(row));
    cpu_backend().scale(row, magnitude->value.data<float>()[r] / norm);
  }
}

}  // namespace fettle
