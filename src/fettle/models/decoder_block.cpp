#include "fettle/models/decoder_block.h"

#include <array>
#include <cmath>

#include "fettle/base/error.h"

namespace fettle {
namespace {

// Keys of each sequence live in its own cache, so sequences attend one after another.
Tensor cached_attention(Context& c, const Tensor& q, const Tensor& k, const Tensor& v,
                        const BlockInput& input, const AttentionOptions& options) {
  FETTLE_CHECK(!c.tape, "a key-value cache is for inference");
  Tensor out = Tensor::empty(q.shape(), q.dtype()), lse;
  const std::vector<KVCache*>& caches = *input.caches;
  for (size_t s = 0; s < caches.size(); ++s) {
    int32_t begin = input.packing->cu_seqlens[s], end = input.packing->cu_seqlens[s + 1];
    Tensor keys, values;
    caches[s]->append(input.index, k.rows_view(begin, end), v.rows_view(begin, end), keys, values);
    std::array<int32_t, 2> cu_q = {0, end - begin}, cu_k = {0, static_cast<int32_t>(keys.dim(0))};
    AttentionSpec spec{
        .cu_q = cu_q, .cu_k = cu_k, .scale = options.scale, .causal = true, .window = options.window};
    Tensor rows = out.rows_view(begin, end);
    c.backend->attention(q.rows_view(begin, end), keys, values, spec, rows, lse);
  }
  return out;
}

}  // namespace

bool DecoderBlock::trainable() {
  for (Linear* linear : linears())
    if (linear->trainable()) return true;
  for (Norm* norm : norms())
    if (norm->weight->trainable || (norm->bias && norm->bias->trainable)) return true;
  for (const auto* methods : {&sublayers.after_attention, &sublayers.after_mlp})
    for (const auto& method : *methods)
      for (const Parameter* parameter : method->parameters())
        if (parameter->trainable) return true;
  return false;
}

std::pair<Var, Var> DecoderBlock::enter(Context& context, const std::vector<Var>& in, Norm& norm) {
  if (in.size() == 1) return {in[0], norm.forward(context, in[0])};
  return norm.add_forward(context, in[0], in[1]);
}

Var attend(Context& c, const Var& q, Var k, Var v, const BlockInput& input, int64_t window) {
  if (input.prefix.first.value.defined()) {
    k = prepend_rows(c, input.prefix.first, k, input.packing->cu_seqlens);
    v = prepend_rows(c, input.prefix.second, v, input.packing->cu_seqlens);
  }
  const int64_t tokens = q.value.dim(0), heads = q.value.dim(1), dim = q.value.dim(2);
  AttentionOptions options{
      .scale = 1.0f / std::sqrt(static_cast<float>(dim)), .causal = true, .window = window};
  Var out = input.caches->empty() ? attention(c, q, k, v, input.packing, options)
                                  : Var(cached_attention(c, q.value, k.value, v.value, input, options));
  return reshape(out, {tokens, heads * dim});
}

}  // namespace fettle
