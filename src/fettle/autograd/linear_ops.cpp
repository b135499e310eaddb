// Products: a linear with its low-rank terms as one node; dropout.
#include "fettle/autograd/ops.h"
#include "fettle/base/error.h"

namespace fettle {
namespace {

Tensor dropped(const Context& context, const Tensor& x, float p, uint32_t site) {
  Tensor out = Tensor::empty(x.shape(), x.dtype());
  context.backend->dropout(x, p, RandomKey{context.seed, RandomUse::kDropout, site, context.step}, out);
  return out;
}

Tensor as_matrix(const Tensor& x) {
  return x.reshape({x.rows(), x.cols()});
}

// Adds a op(b) and the terms to the gradient of `slot`, in place where the slot owns its tensor.
void accumulate_product(const Context& context, GradSlot& slot, const Tensor& a, const Tensor& b,
                        bool transpose_b, const Shape& shape, const QuantizedMatrix* quantized_b,
                        std::span<const LowRankTerm> terms) {
  Tensor target = slot.owned();
  bool fresh = !target.defined();
  target = fresh ? Tensor::empty(shape, a.dtype()) : target.reshape(shape);
  context.backend->matmul({.a = &a,
                           .b = &b,
                           .quantized_b = quantized_b,
                           .out = &target,
                           .transpose_b = transpose_b,
                           .beta = fresh ? 0.0f : 1.0f,
                           .terms = terms,
                           .compute = context.compute});
  if (fresh) slot.accumulate(*context.backend, target);
}

// gradient += alpha * aᵀ b, for parameter gradients (sums over tokens).
void accumulate_outer(const Context& context, Parameter& parameter, const Tensor& a, const Tensor& b,
                      float alpha = 1.0f) {
  Tensor& target = parameter.gradient_buffer();
  context.backend->matmul({.a = &a,
                           .b = &b,
                           .out = &target,
                           .transpose_a = true,
                           .alpha = alpha,
                           .beta = 1.0f,
                           .compute = context.compute});
}

}  // namespace

Var linear(Context& context, const Var& x, Parameter& weight, Parameter* bias, bool conv1d,
           const std::vector<LoraTerm>& lora) {
  int64_t out_features = weight.shape[conv1d ? 1 : 0];
  Backend& backend = *context.backend;
  Tensor input = as_matrix(x.value);
  bool parameters_learn = weight.trainable || (bias && bias->trainable);
  std::vector<Tensor> projections;  // dropout(x) Aᵀ of each term, kept for dB
  for (const LoraTerm& term : lora) {
    parameters_learn = parameters_learn || term.a->trainable || term.b->trainable;
    bool drops = context.training && term.dropout > 0;
    Tensor seen = drops ? dropped(context, input, term.dropout, term.site) : input;
    Tensor projection = context.activation({input.rows(), term.a->shape[0]});
    backend.matmul({.a = &seen,
                    .b = &term.a->value,
                    .out = &projection,
                    .transpose_b = true,
                    .compute = context.compute});
    projections.push_back(projection);
  }
  std::vector<LowRankTerm> terms;
  for (size_t i = 0; i < lora.size(); ++i)
    terms.push_back({&projections[i], &lora[i].b->value, true, lora[i].scale});
  Tensor y = context.activation({input.rows(), out_features});
  backend.matmul({.a = &input,
                  .b = &weight.value,
                  .quantized_b = weight.quantized.get(),
                  .out = &y,
                  .transpose_b = !conv1d,
                  .bias = bias ? &bias->value : nullptr,
                  .terms = terms,
                  .compute = context.compute});

  Var result(y, context.records(x.requires_grad() || parameters_learn));
  if (!result.slot) return result;
  // A frozen linear without terms needs its weight only, so its input is not kept.
  Kept kept = weight.trainable || !lora.empty() ? Kept(x) : Kept();
  context.tape->record([context, x_slot = x.slot, x_shape = input.shape(), kept, &weight, bias, conv1d, lora,
                        projections, out = result.slot] {
    const Tensor taken = kept.take(), input = taken.defined() ? as_matrix(taken) : taken;
    if (!out->defined()) return;
    Backend& backend = *context.backend;
    Tensor dy = out->take({x_shape[0], weight.shape[conv1d ? 1 : 0]});
    if (weight.trainable) accumulate_outer(context, weight, conv1d ? input : dy, conv1d ? dy : input);
    if (bias && bias->trainable) backend.add_column_sums(dy, bias->gradient_buffer());
    std::vector<Tensor> dprojections(lora.size());
    std::vector<LowRankTerm> terms;  // those that see the input itself
    for (size_t i = 0; i < lora.size(); ++i) {
      const LoraTerm& term = lora[i];
      if (term.b->trainable) accumulate_outer(context, *term.b, dy, projections[i], term.scale);
      if (!x_slot && !term.a->trainable) continue;
      dprojections[i] = Tensor::empty(projections[i].shape(), projections[i].dtype());
      backend.matmul({.a = &dy,
                      .b = &term.b->value,
                      .out = &dprojections[i],
                      .alpha = term.scale,
                      .compute = context.compute});
      bool drops = context.training && term.dropout > 0;
      if (term.a->trainable) {
        Tensor seen = drops ? dropped(context, input, term.dropout, term.site) : input;
        accumulate_outer(context, *term.a, dprojections[i], seen);
      }
      if (!drops) terms.push_back({&dprojections[i], &term.a->value});
    }
    if (!x_slot) return;
    accumulate_product(context, *x_slot, dy, weight.value, conv1d, x_shape, weight.quantized.get(), terms);
    for (size_t i = 0; i < lora.size(); ++i) {
      const LoraTerm& term = lora[i];
      if (!context.training || term.dropout <= 0) continue;
      Tensor dseen = Tensor::empty(x_shape, dy.dtype());
      backend.matmul({.a = &dprojections[i], .b = &term.a->value, .out = &dseen, .compute = context.compute});
      // The mask is its own derivative.
      RandomKey key{context.seed, RandomUse::kDropout, term.site, context.step};
      backend.dropout(dseen, term.dropout, key, dseen);
      x_slot->accumulate(backend, dseen);
    }
  });
  return result;
}

Var dropout(Context& context, const Var& x, float p, uint32_t site) {
  if (!context.training || p <= 0) return x;
  Var result(dropped(context, x.value, p, site), context.records(x.requires_grad()));
  if (result.slot)
    context.tape->record([context, shape = x.value.shape(), x_slot = x.slot, p, site, out = result.slot] {
      if (!out->defined()) return;
      x_slot->accumulate(*context.backend, dropped(context, out->take(shape), p, site));
    });
  return result;
}

}  // namespace fettle
