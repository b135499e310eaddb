// Ops of a transformer block around its products: embedding, sums, norms, rotary, attention, gated MLP.
#include "fettle/autograd/ops.h"
#include "fettle/base/error.h"

namespace fettle {
namespace {

// The gradient buffer of a parameter that learns, else an undefined tensor.
Tensor learning_gradient(Parameter* parameter) {
  return parameter && parameter->trainable ? parameter->gradient_buffer() : Tensor();
}

Tensor like(const Tensor& x) {
  return Tensor::empty(x.shape(), x.dtype());
}

Tensor per_row(const Tensor& x) {
  return Tensor::empty({x.rows()}, x.dtype() == DType::kF64 ? DType::kF64 : DType::kF32);
}

// Two inputs of a sum share one gradient tensor.
void accumulate_both(const Context& context, const Tensor& gradient, const std::shared_ptr<GradSlot>& a,
                     const std::shared_ptr<GradSlot>& b) {
  if (a) a->accumulate(*context.backend, gradient, b != nullptr);
  if (b) b->accumulate(*context.backend, gradient, a != nullptr);
}

std::shared_ptr<Remake> remade_rms_norm(const Context& context, const Tensor& x, const Parameter& weight,
                                        float eps) {
  return std::make_shared<Remake>([backend = context.backend, x, &weight, eps] {
    Tensor y = like(x), rstd = per_row(x);
    backend->rms_norm(x, weight.value, eps, y, rstd);
    return y;
  });
}

}  // namespace

Var embedding(Context& context, std::shared_ptr<const std::vector<int32_t>> ids, Parameter& table) {
  Tensor out = context.activation({static_cast<int64_t>(ids->size()), table.shape[1]});
  context.backend->embedding(*ids, table.value, out);
  Var result(out, context.records(table.trainable));
  if (result.slot)
    context.tape->record([context, ids, &table, out = result.slot] {
      if (!out->defined()) return;
      Tensor d = out->take({static_cast<int64_t>(ids->size()), table.shape[1]});
      context.backend->embedding_backward(*ids, d, table.gradient_buffer());
    });
  return result;
}

Var add(Context& context, const Var& a, const Var& b) {
  Tensor sum = like(a.value);
  context.backend->add(a.value, b.value, sum);
  Var result(sum, context.records(a.requires_grad() || b.requires_grad()));
  if (result.slot)
    context.tape->record([context, shape = sum.shape(), a = a.slot, b = b.slot, out = result.slot] {
      if (out->defined()) accumulate_both(context, out->take(shape), a, b);
    });
  return result;
}

Var rms_norm(Context& context, const Var& x, Parameter& weight, float eps) {
  Tensor y = like(x.value), rstd = per_row(x.value);
  context.backend->rms_norm(x.value, weight.value, eps, y, rstd);
  Var result(y, context.records(x.requires_grad() || weight.trainable));
  if (result.slot && context.remakes) result.remake = remade_rms_norm(context, x.value, weight, eps);
  if (result.slot)
    context.tape->record([context, x, &weight, rstd, out = result.slot] {
      if (!out->defined()) return;
      Tensor dx = x.slot ? like(x.value) : Tensor(), dweight = learning_gradient(&weight);
      context.backend->rms_norm_backward(out->take(x.value.shape()), x.value, weight.value, rstd, Tensor(),
                                         dx, dweight);
      if (x.slot) x.slot->accumulate(*context.backend, dx);
    });
  return result;
}

std::pair<Var, Var> add_rms_norm(Context& context, const Var& x, const Var& delta, Parameter& weight,
                                 float eps) {
  Tensor sum = like(x.value), y = like(x.value), rstd = per_row(x.value);
  context.backend->add_rms_norm(x.value, delta.value, weight.value, eps, sum, y, rstd);
  bool inputs = x.requires_grad() || delta.requires_grad();
  Var total(sum, context.records(inputs)), normed(y, context.records(inputs || weight.trainable));
  if (normed.slot && context.remakes) normed.remake = remade_rms_norm(context, sum, weight, eps);
  if (normed.slot)
    context.tape->record([context, x = x.slot, delta = delta.slot, sum, &weight, rstd,
                          total_slot = total.slot, out = normed.slot] {
      // Both outputs have one input, so their gradients meet here: d = dtotal + d(norm).
      Tensor residual = total_slot && total_slot->defined() ? total_slot->take(sum.shape()) : Tensor(),
             d = residual;
      if (out->defined()) {
        Tensor dweight = learning_gradient(&weight), dsum = total_slot ? like(sum) : Tensor();
        context.backend->rms_norm_backward(out->take(sum.shape()), sum, weight.value, rstd, residual, dsum,
                                           dweight);
        d = dsum;
      }
      if (!d.defined()) return;
      accumulate_both(context, d, x, delta);
    });
  return {total, normed};
}

Var layer_norm(Context& context, const Var& x, Parameter& weight, Parameter* bias, float eps) {
  Tensor y = like(x.value), mean = per_row(x.value), rstd = per_row(x.value);
  context.backend->layer_norm(x.value, weight.value, bias ? bias->value : Tensor(), eps, y, mean, rstd);
  Var result(y, context.records(x.requires_grad() || weight.trainable || (bias && bias->trainable)));
  if (result.slot && context.remakes)
    result.remake = std::make_shared<Remake>([backend = context.backend, x = x.value, &weight, bias, eps] {
      Tensor again = like(x), mean_again = per_row(x), rstd_again = per_row(x);
      backend->layer_norm(x, weight.value, bias ? bias->value : Tensor(), eps, again, mean_again, rstd_again);
      return again;
    });
  if (result.slot)
    context.tape->record([context, x, &weight, bias, mean, rstd, out = result.slot] {
      if (!out->defined()) return;
      Tensor dx = x.slot ? like(x.value) : Tensor();
      Tensor dweight = learning_gradient(&weight), dbias = learning_gradient(bias);
      context.backend->layer_norm_backward(out->take(x.value.shape()), x.value, weight.value, mean, rstd, dx,
                                           dweight, dbias);
      if (x.slot) x.slot->accumulate(*context.backend, dx);
    });
  return result;
}

Var rotary(Context& context, const Var& x, PackingRef packing, const RotaryTable& table) {
  Tensor y = like(x.value);
  context.backend->rotary(x.value, packing->positions, table.cos, table.sin, false, y);
  Var result(y, context.records(x.requires_grad()));
  if (result.slot)
    context.tape->record(
        [context, shape = x.value.shape(), x_slot = x.slot, packing, table, out = result.slot] {
          if (!out->defined()) return;
          Tensor dy = out->take(shape), dx = like(dy);
          context.backend->rotary(dy, packing->positions, table.cos, table.sin, true, dx);
          x_slot->accumulate(*context.backend, dx);
        });
  return result;
}

Var attention(Context& context, const Var& q, const Var& k, const Var& v, PackingRef packing,
              const AttentionOptions& options) {
  AttentionSpec spec{.cu_q = packing->cu_seqlens,
                     .cu_k = packing->cu_keys,
                     .scale = options.scale,
                     .causal = options.causal,
                     .window = options.window};
  bool learns = context.records(q.requires_grad() || k.requires_grad() || v.requires_grad());
  Tensor out = like(q.value);
  DType lse_type = q.value.dtype() == DType::kF64 ? DType::kF64 : DType::kF32;
  Tensor lse = learns ? Tensor::empty({q.value.dim(1), q.value.dim(0)}, lse_type) : Tensor();
  context.backend->attention(q.value, k.value, v.value, spec, out, lse);
  Var result(out, learns);
  if (learns)
    context.tape->record([context, q, k, v, packing, spec, value = out, lse, slot = result.slot] {
      if (!slot->defined()) return;
      Tensor dq = like(q.value), dk = like(k.value), dv = like(v.value);
      context.backend->attention_backward(slot->take(q.value.shape()), q.value, k.value, v.value, value, lse,
                                          spec, dq, dk, dv);
      if (q.slot) q.slot->accumulate(*context.backend, dq);
      if (k.slot) k.slot->accumulate(*context.backend, dk);
      if (v.slot) v.slot->accumulate(*context.backend, dv);
    });
  return result;
}

Var swiglu(Context& context, const Var& gate, const Var& up) {
  Tensor y = like(gate.value);
  context.backend->swiglu(gate.value, up.value, y);
  Var result(y, context.records(gate.requires_grad() || up.requires_grad()));
  if (result.slot && context.remakes)
    result.remake = std::make_shared<Remake>([backend = context.backend, gate = gate.value, up = up.value] {
      Tensor again = like(gate);
      backend->swiglu(gate, up, again);
      return again;
    });
  if (result.slot)
    context.tape->record([context, gate, up, out = result.slot] {
      if (!out->defined()) return;
      Tensor dgate = like(gate.value), dup = like(up.value);
      context.backend->swiglu_backward(out->take(gate.value.shape()), gate.value, up.value, dgate, dup);
      if (gate.slot) gate.slot->accumulate(*context.backend, dgate);
      if (up.slot) up.slot->accumulate(*context.backend, dup);
    });
  return result;
}

Var reshape(const Var& x, Shape shape) {
  // Gradients keep the shape their op gave them; ops that care reshape to their own.
  Var y = x;
  y.value = x.value.reshape(std::move(shape));
  return y;
}

}  // namespace fettle
