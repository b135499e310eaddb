#include "fettle/peft/lstm.h"

#include <cmath>

namespace fettle {
namespace {

float sigmoid(float x) {
  return 1.0f / (1.0f + std::exp(-x));
}

}  // namespace

Var lstm(Context& context, const Var& x, const LstmDirection& d, bool backwards) {
  const int64_t steps = x.value.rows(), h = d.weight_hh->shape[1];
  Backend& backend = *context.backend;
  // Gates of all steps from the inputs at once; those from the hidden state step by step.
  Var from_input = linear(context, x, *d.weight_ih, d.bias_ih.get());
  Tensor gates = from_input.value.clone();  // [T, 4h], after the activations in place
  Tensor cells = Tensor::empty({steps, h}, DType::kF32), outputs = Tensor::zeros({steps, h}, DType::kF32);
  auto row = [steps, backwards](int64_t t) { return backwards ? steps - 1 - t : t; };
  for (int64_t t = 0; t < steps; ++t) {
    Tensor gate = gates.rows_view(row(t), row(t) + 1);
    if (t > 0) {
      Tensor previous = outputs.rows_view(row(t - 1), row(t - 1) + 1);
      backend.matmul(
          {.a = &previous, .b = &d.weight_hh->value, .out = &gate, .transpose_b = true, .beta = 1.0f});
    }
    backend.add(gate, d.bias_hh->value, gate);
    float* g = gate.data<float>();
    float *c = cells.data<float>() + row(t) * h, *out = outputs.data<float>() + row(t) * h;
    const float* before = t > 0 ? cells.data<float>() + row(t - 1) * h : nullptr;
    for (int64_t k = 0; k < h; ++k) {
      g[k] = sigmoid(g[k]);
      g[h + k] = sigmoid(g[h + k]);
      g[2 * h + k] = std::tanh(g[2 * h + k]);
      g[3 * h + k] = sigmoid(g[3 * h + k]);
      c[k] = g[k] * g[2 * h + k] + (before ? g[h + k] * before[k] : 0.0f);
      out[k] = g[3 * h + k] * std::tanh(c[k]);
    }
  }
  Var result(outputs, context.records(from_input.requires_grad() || d.weight_hh->trainable));
  if (!result.slot) return result;
  context.tape->record([context, d, gates, cells, outputs, row, steps, h, input = from_input.slot,
                        slot = result.slot] {
    if (!slot->defined()) return;
    Backend& backend = *context.backend;
    Tensor dy = slot->take({steps, h}), dgates = Tensor::empty({steps, 4 * h}, DType::kF32);
    Tensor dh = Tensor::zeros({1, h}, DType::kF32), dc = Tensor::zeros({1, h}, DType::kF32);
    for (int64_t t = steps; t-- > 0;) {
      const float *g = gates.data<float>() + row(t) * 4 * h, *c = cells.data<float>() + row(t) * h;
      const float* before = t > 0 ? cells.data<float>() + row(t - 1) * h : nullptr;
      const float* from_above = dy.data<float>() + row(t) * h;
      float* dg = dgates.data<float>() + row(t) * 4 * h;
      for (int64_t k = 0; k < h; ++k) {
        float i = g[k], f = g[h + k], candidate = g[2 * h + k], o = g[3 * h + k], tanh_c = std::tanh(c[k]);
        float dout = from_above[k] + dh.data<float>()[k];
        float dcell = dc.data<float>()[k] + dout * o * (1 - tanh_c * tanh_c);
        dg[k] = dcell * candidate * i * (1 - i);
        dg[h + k] = before ? dcell * before[k] * f * (1 - f) : 0.0f;
        dg[2 * h + k] = dcell * i * (1 - candidate * candidate);
        dg[3 * h + k] = dout * tanh_c * o * (1 - o);
        dc.data<float>()[k] = dcell * f;
      }
      if (t == 0) break;
      Tensor gate = dgates.rows_view(row(t), row(t) + 1),
             previous = outputs.rows_view(row(t - 1), row(t - 1) + 1);
      backend.matmul({.a = &gate, .b = &d.weight_hh->value, .out = &dh});
      if (d.weight_hh->trainable)
        backend.matmul({.a = &gate,
                        .b = &previous,
                        .out = &d.weight_hh->gradient_buffer(),
                        .transpose_a = true,
                        .beta = 1.0f});
    }
    if (d.bias_hh->trainable) backend.add_column_sums(dgates, d.bias_hh->gradient_buffer());
    if (input) input->accumulate(backend, dgates);
  });
  return result;
}

}  // namespace fettle
