// Ops that parameter-efficient methods are composed of.
#include <cmath>
#include <limits>

#include "fettle/autograd/ops.h"
#include "fettle/base/threads.h"

namespace fettle {
namespace {

Tensor like(const Tensor& x) {
  return Tensor::empty(x.shape(), x.dtype());
}

// Operands of one dtype are multiplied in it, so that matrices derived from f32 parameters stay f32.
DType product_type(const Context& context, const Tensor& a, const Tensor& b) {
  return a.dtype() == b.dtype() ? a.dtype() : context.compute;
}

}  // namespace

Var leaf(Context& context, Parameter& parameter) {
  Var result(parameter.value, context.records(parameter.trainable));
  if (result.slot)
    context.tape->record([context, &parameter, out = result.slot] {
      if (!out->defined()) return;
      Tensor& gradient = parameter.gradient_buffer();
      context.backend->add(gradient, out->take(parameter.shape), gradient);
    });
  return result;
}

Var matmul(Context& context, const Var& a, const Var& b, bool transpose_b, float alpha) {
  Tensor left = a.value.reshape({a.value.rows(), a.value.cols()});
  Tensor y = Tensor::empty({left.rows(), b.value.dim(transpose_b ? 0 : 1)}, left.dtype());
  DType compute = product_type(context, left, b.value);
  context.backend->matmul(
      {.a = &left, .b = &b.value, .out = &y, .transpose_b = transpose_b, .alpha = alpha, .compute = compute});
  Var result(y, context.records(a.requires_grad() || b.requires_grad()));
  if (result.slot)
    context.tape->record([context, left = b.slot ? left : Tensor(), a_shape = a.value.shape(),
                          right = b.value, a_slot = a.slot, b_slot = b.slot, shape = y.shape(), transpose_b,
                          alpha, compute, out = result.slot] {
      if (!out->defined()) return;
      Tensor dy = out->take(shape);
      Backend& backend = *context.backend;
      if (a_slot) {
        Tensor da = Tensor::empty({shape[0], right.dim(transpose_b ? 1 : 0)}, dy.dtype());
        backend.matmul({.a = &dy,
                        .b = &right,
                        .out = &da,
                        .transpose_b = !transpose_b,
                        .alpha = alpha,
                        .compute = compute});
        a_slot->accumulate(backend, da.reshape(a_shape));
      }
      if (b_slot) {
        Tensor db = like(right);
        backend.matmul({.a = transpose_b ? &dy : &left,
                        .b = transpose_b ? &left : &dy,
                        .out = &db,
                        .transpose_a = true,
                        .alpha = alpha,
                        .compute = compute});
        b_slot->accumulate(backend, db);
      }
    });
  return result;
}

Var multiply(Context& context, const Var& a, const Var& b) {
  Tensor y = like(a.value);
  context.backend->multiply(a.value, b.value, y);
  Var result(y, context.records(a.requires_grad() || b.requires_grad()));
  if (result.slot)
    context.tape->record([context, a, b, out = result.slot] {
      if (!out->defined()) return;
      Tensor dy = out->take(a.value.shape());
      for (const auto& [to, other] : {std::pair{&a, &b}, std::pair{&b, &a}}) {
        if (!to->slot) continue;
        Tensor d = like(to->value);
        context.backend->multiply(dy, other->value, d);
        to->slot->accumulate(*context.backend, d);
      }
    });
  return result;
}

Var scale(Context& context, const Var& x, float alpha) {
  Tensor y = like(x.value);
  context.backend->convert(x.value, y);
  context.backend->scale(y, alpha);
  Var result(y, context.records(x.requires_grad()));
  if (result.slot)
    context.tape->record([context, shape = y.shape(), slot = x.slot, alpha, out = result.slot] {
      if (!out->defined()) return;
      Tensor dy = out->take(shape), dx = like(dy);
      context.backend->convert(dy, dx);
      context.backend->scale(dx, alpha);
      slot->accumulate(*context.backend, dx);
    });
  return result;
}

Var scale_columns(Context& context, const Var& x, const Var& columns, Parameter* bias) {
  Tensor y = like(x.value);
  context.backend->scale_columns(x.value, columns.value, bias ? bias->value : Tensor(), y);
  bool bias_learns = bias && bias->trainable;
  Var result(y, context.records(x.requires_grad() || columns.requires_grad() || bias_learns));
  if (result.slot)
    context.tape->record([context, x = columns.slot ? x.value : Tensor(), shape = y.shape(), x_slot = x.slot,
                          columns, bias, bias_learns, out = result.slot] {
      if (!out->defined()) return;
      Tensor dy = out->take(shape);
      Backend& backend = *context.backend;
      if (bias_learns) backend.add_column_sums(dy, bias->gradient_buffer());
      if (columns.slot) {
        Tensor d = like(columns.value);
        backend.fill(d, 0.0);
        backend.add_column_products(dy, x, d);
        columns.slot->accumulate(backend, d);
      }
      if (x_slot) {
        Tensor dx = like(dy);
        backend.scale_columns(dy, columns.value, Tensor(), dx);
        x_slot->accumulate(backend, dx);
      }
    });
  return result;
}

Var add_row(Context& context, const Var& x, Parameter& row, float alpha) {
  Tensor y = like(x.value), ones = Tensor::empty(row.shape, row.value.dtype()), scaled = like(ones);
  context.backend->fill(ones, 1.0);
  context.backend->convert(row.value, scaled);
  context.backend->scale(scaled, alpha);
  context.backend->scale_columns(x.value, ones, scaled, y);
  Var result(y, context.records(x.requires_grad() || row.trainable));
  if (result.slot)
    context.tape->record([context, shape = y.shape(), slot = x.slot, &row, alpha, out = result.slot] {
      if (!out->defined()) return;
      Tensor dy = out->take(shape);
      if (row.trainable) {
        Tensor sums = like(row.gradient_buffer());
        context.backend->fill(sums, 0.0);
        context.backend->add_column_sums(dy, sums);
        context.backend->axpy(alpha, sums, row.gradient_buffer());
      }
      if (slot) slot->accumulate(*context.backend, dy);
    });
  return result;
}

Var rotate_blocks(Context& context, const Var& x, const Var& blocks, const ColumnOrder& order) {
  auto columns = [](const ColumnOrder& o) { return o ? std::span(*o) : std::span<const int32_t>(); };
  Tensor y = like(x.value);
  context.backend->rotate_blocks(x.value, blocks.value, false, columns(order), y);
  Var result(y, context.records(x.requires_grad() || blocks.requires_grad()));
  if (result.slot)
    context.tape->record([context, x, blocks, order, columns, out = result.slot] {
      if (!out->defined()) return;
      Tensor dy = out->take(x.value.shape());
      Backend& backend = *context.backend;
      if (blocks.slot) {
        Tensor d = like(blocks.value);
        backend.fill(d, 0.0);
        backend.add_block_products(x.value, dy, columns(order), d);
        blocks.slot->accumulate(backend, d);
      }
      if (x.slot) {
        Tensor dx = like(dy);
        backend.rotate_blocks(dy, blocks.value, true, columns(order), dx);
        x.slot->accumulate(backend, dx);
      }
    });
  return result;
}

Var transpose_last(Context& context, const Var& x) {
  Shape shape = {x.value.dim(0), x.value.dim(2), x.value.dim(1)};
  Tensor y = Tensor::empty(shape, x.value.dtype());
  context.backend->transpose_last(x.value, y);
  Var result(y, context.records(x.requires_grad()));
  if (result.slot)
    context.tape->record([context, shape, x_shape = x.value.shape(), slot = x.slot, out = result.slot] {
      if (!out->defined()) return;
      Tensor dy = out->take(shape), dx = Tensor::empty(x_shape, dy.dtype());
      context.backend->transpose_last(dy, dx);
      slot->accumulate(*context.backend, dx);
    });
  return result;
}

Var activate(Context& context, Activation kind, const Var& x) {
  Tensor y = like(x.value);
  context.backend->activate(kind, x.value, y);
  Var result(y, context.records(x.requires_grad()));
  if (result.slot && context.remakes)
    result.remake = std::make_shared<Remake>([backend = context.backend, kind, x = x.value] {
      Tensor again = like(x);
      backend->activate(kind, x, again);
      return again;
    });
  if (result.slot)
    context.tape->record([context, kind, x, out = result.slot] {
      if (!out->defined()) return;
      Tensor dx = like(x.value);
      context.backend->activate_backward(kind, out->take(x.value.shape()), x.value, dx);
      x.slot->accumulate(*context.backend, dx);
    });
  return result;
}

namespace {

// Rows of the result that hold the prefix of each sequence, and those that hold x.
struct PrependedRows {
  std::vector<std::vector<int32_t>> prefixes;
  std::vector<int32_t> own;
};
PrependedRows prepended_rows(int64_t n, const std::vector<int32_t>& cu_seqlens) {
  PrependedRows rows;
  int32_t at = 0;
  for (size_t s = 0; s + 1 < cu_seqlens.size(); ++s) {
    std::vector<int32_t>& prefix = rows.prefixes.emplace_back();
    for (int64_t i = 0; i < n; ++i) prefix.push_back(at++);
    for (int32_t t = cu_seqlens[s]; t < cu_seqlens[s + 1]; ++t) rows.own.push_back(at++);
  }
  return rows;
}

}  // namespace

Var prepend_rows(Context& context, const Var& prefix, const Var& x, const std::vector<int32_t>& cu_seqlens) {
  int64_t n = prefix.value.dim(0), width = x.value.numel() / std::max<int64_t>(1, x.value.dim(0));
  PrependedRows rows = prepended_rows(n, cu_seqlens);
  int64_t total = static_cast<int64_t>(rows.own.size() + rows.prefixes.size() * static_cast<size_t>(n));
  Shape shape = x.value.shape();
  shape[0] = total;
  Backend& backend = *context.backend;
  Tensor y = Tensor::empty({total, width}, x.value.dtype()),
         first = Tensor::empty({n, width}, x.value.dtype());
  backend.convert(prefix.value.reshape({n, width}), first);
  for (const std::vector<int32_t>& place : rows.prefixes) backend.scatter_rows(first, place, y);
  backend.scatter_rows(x.value.reshape({x.value.dim(0), width}), rows.own, y);
  Var result(y.reshape(shape), context.records(prefix.requires_grad() || x.requires_grad()));
  if (result.slot)
    context.tape->record([context, rows, n, width, total, prefix_value = prefix.value,
                          x_shape = x.value.shape(), prefix_slot = prefix.slot, x_slot = x.slot,
                          out = result.slot] {
      if (!out->defined()) return;
      Backend& backend = *context.backend;
      Tensor dy = out->take({total, width});
      if (x_slot) {
        Tensor dx = Tensor::empty({static_cast<int64_t>(rows.own.size()), width}, dy.dtype());
        backend.gather_rows(dy, rows.own, dx);
        x_slot->accumulate(backend, dx.reshape(x_shape));
      }
      if (!prefix_slot) return;
      // Sums over sequences stay in the prefix's own dtype.
      Tensor sum = Tensor::empty({n, width}, prefix_value.dtype()),
             part = Tensor::empty({n, width}, dy.dtype());
      backend.fill(sum, 0.0);
      for (const std::vector<int32_t>& place : rows.prefixes) {
        backend.gather_rows(dy, place, part);
        backend.axpy(1.0, part, sum);
      }
      prefix_slot->accumulate(backend, sum.reshape(prefix_value.shape()));
    });
  return result;
}

Var select_rows(Context& context, const Var& x, const std::vector<int32_t>& rows) {
  Tensor y = Tensor::empty({static_cast<int64_t>(rows.size()), x.value.cols()}, x.value.dtype());
  context.backend->gather_rows(x.value, rows, y);
  Var result(y, context.records(x.requires_grad()));
  if (result.slot)
    context.tape->record(
        [context, rows, shape = y.shape(), x_shape = x.value.shape(), slot = x.slot, out = result.slot] {
          if (!out->defined()) return;
          Tensor dy = out->take(shape), dx = Tensor::empty(x_shape, dy.dtype());
          context.backend->fill(dx, 0.0);
          context.backend->scatter_rows(dy, rows, dx);
          slot->accumulate(*context.backend, dx);
        });
  return result;
}

Var select_columns(Context& context, const Var& x, int64_t begin, int64_t end) {
  int64_t rows = x.value.rows(), cols = x.value.cols(), width = end - begin;
  size_t element = dtype_size(x.value.dtype());
  // Between the columns of `wide` and all of `narrow`.
  auto copy = [=](Tensor wide, Tensor narrow, bool to_narrow) {
    auto* w = static_cast<std::byte*>(wide.raw()) + static_cast<size_t>(begin) * element;
    auto* n = static_cast<std::byte*>(narrow.raw());
    size_t bytes = static_cast<size_t>(width) * element;
    for (int64_t r = 0; r < rows; ++r) {
      std::byte* a = w + static_cast<size_t>(r * cols) * element;
      std::byte* b = n + static_cast<size_t>(r) * bytes;
      to_narrow ? std::memcpy(b, a, bytes) : std::memcpy(a, b, bytes);
    }
  };
  Tensor y = Tensor::empty({rows, width}, x.value.dtype());
  copy(x.value, y, true);
  Var result(y, context.records(x.requires_grad()));
  if (result.slot)
    context.tape->record(
        [context, copy, shape = y.shape(), x_shape = x.value.shape(), slot = x.slot, out = result.slot] {
          if (!out->defined()) return;
          Tensor dy = out->take(shape), dx = Tensor::empty(x_shape, dy.dtype());
          context.backend->fill(dx, 0.0);
          copy(dx, dy, false);
          slot->accumulate(*context.backend, dx);
        });
  return result;
}

Var fuse(Context& context, const Var& query, const std::vector<Var>& keys, const std::vector<Var>& values) {
  const int64_t tokens = query.value.rows(), width = query.value.cols(),
                count = static_cast<int64_t>(keys.size());
  // Small beside the linears around it, so it is done in f32 whatever the activations are.
  auto f32 = [](const Tensor& t) { return t.to(DType::kF32, MemoryKind::kWorkspace); };
  Tensor q = f32(query.value), share = Tensor::empty({tokens, count}, DType::kF32);
  std::vector<Tensor> k, v;
  bool needs_gradient = query.requires_grad();
  for (int64_t i = 0; i < count; ++i) {
    k.push_back(f32(keys[static_cast<size_t>(i)].value));
    v.push_back(f32(values[static_cast<size_t>(i)].value));
    needs_gradient = needs_gradient || keys[static_cast<size_t>(i)].requires_grad() ||
                     values[static_cast<size_t>(i)].requires_grad();
  }
  auto row = [width](const Tensor& t, int64_t r) { return t.data<float>() + r * width; };
  auto dot = [width](const float* a, const float* b) {
    double sum = 0;
    for (int64_t c = 0; c < width; ++c) sum += static_cast<double>(a[c]) * b[c];
    return static_cast<float>(sum);
  };
  Tensor y = Tensor::zeros({tokens, width}, DType::kF32, MemoryKind::kWorkspace);
  parallel_for(tokens, [&](int64_t t) {
    float* p = share.data<float>() + t * count;
    float largest = -std::numeric_limits<float>::infinity(), sum = 0;
    for (int64_t i = 0; i < count; ++i) {
      p[i] = dot(row(q, t), row(k[static_cast<size_t>(i)], t));
      largest = std::max(largest, p[i]);
    }
    for (int64_t i = 0; i < count; ++i) sum += p[i] = std::exp(p[i] - largest);
    float* out = y.data<float>() + t * width;
    for (int64_t i = 0; i < count; ++i) {
      p[i] /= sum;
      const float* value = row(v[static_cast<size_t>(i)], t);
      for (int64_t c = 0; c < width; ++c) out[c] += p[i] * value[c];
    }
  });
  Var result(y.to(query.value.dtype()), context.records(needs_gradient));
  if (result.slot)
    context.tape->record([context, query, keys, values, share, row, dot, f32, out = result.slot, width, count,
                          tokens] {
      if (!out->defined()) return;
      Tensor dy = f32(out->take({tokens, width})), q = f32(query.value);
      Tensor d_score = Tensor::empty({tokens, count}, DType::kF32);
      auto give = [&](const Var& var, const Tensor& gradient) {
        if (var.slot)
          var.slot->accumulate(*context.backend, gradient.to(var.value.dtype()).reshape(var.value.shape()));
      };
      std::vector<Tensor> v;
      for (const Var& value : values) v.push_back(f32(value.value));
      parallel_for(tokens, [&](int64_t t) {
        const float* p = share.data<float>() + t * count;
        float* d = d_score.data<float>() + t * count;
        float mean = 0;
        for (int64_t i = 0; i < count; ++i) {
          d[i] = dot(row(dy, t), row(v[static_cast<size_t>(i)], t));
          mean += p[i] * d[i];
        }
        for (int64_t i = 0; i < count; ++i) d[i] = p[i] * (d[i] - mean);
      });
      Tensor dq = Tensor::zeros({tokens, width}, DType::kF32, MemoryKind::kWorkspace);
      for (int64_t i = 0; i < count; ++i) {
        const size_t at = static_cast<size_t>(i);
        Tensor k = f32(keys[at].value), dk = Tensor::empty({tokens, width}, DType::kF32);
        Tensor dv = Tensor::empty({tokens, width}, DType::kF32);
        parallel_for(tokens, [&](int64_t t) {
          const float p = share.data<float>()[t * count + i], d = d_score.data<float>()[t * count + i];
          for (int64_t c = 0; c < width; ++c) {
            dq.data<float>()[t * width + c] += d * row(k, t)[c];
            dk.data<float>()[t * width + c] = d * row(q, t)[c];
            dv.data<float>()[t * width + c] = p * row(dy, t)[c];
          }
        });
        give(keys[at], dk);
        give(values[at], dv);
      }
      give(query, dq);
    });
  return result;
}

}  // namespace fettle
