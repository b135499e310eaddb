#include "fettle/models/decoder.h"

#include <array>
#include <cmath>
#include <tuple>

#include "fettle/base/error.h"
#include "fettle/models/virtual_tokens.h"

namespace fettle {
namespace {

struct DecoderLayer {
  DecoderLayer(const ModelConfig& config, const DecoderOptions& options, int64_t index);
  std::vector<Linear*> linears() {
    return {&q_proj, &k_proj, &v_proj, &o_proj, &gate_proj, &up_proj, &down_proj};
  }
  std::vector<RMSNorm*> norms() {
    if (q_norm) return {q_norm.get(), k_norm.get(), &input_layernorm, &post_attention_layernorm};
    return {&input_layernorm, &post_attention_layernorm};
  }
  bool trainable();

  RMSNorm input_layernorm, post_attention_layernorm;
  Linear q_proj, k_proj, v_proj, o_proj, gate_proj, up_proj, down_proj;
  std::unique_ptr<RMSNorm> q_norm, k_norm;
};

std::string layer_path(int64_t index) {
  return fmt::format("model.layers.{}.", index);
}

DecoderLayer::DecoderLayer(const ModelConfig& c, const DecoderOptions& o, int64_t i)
    : input_layernorm(layer_path(i) + "input_layernorm", c.hidden_size, c.rms_norm_eps),
      post_attention_layernorm(layer_path(i) + "post_attention_layernorm", c.hidden_size, c.rms_norm_eps),
      q_proj(layer_path(i) + "self_attn.q_proj", c.hidden_size, c.num_attention_heads * c.head_dim,
             o.qkv_bias),
      k_proj(layer_path(i) + "self_attn.k_proj", c.hidden_size, c.num_key_value_heads * c.head_dim,
             o.qkv_bias),
      v_proj(layer_path(i) + "self_attn.v_proj", c.hidden_size, c.num_key_value_heads * c.head_dim,
             o.qkv_bias),
      o_proj(layer_path(i) + "self_attn.o_proj", c.num_attention_heads * c.head_dim, c.hidden_size,
             o.output_bias),
      gate_proj(layer_path(i) + "mlp.gate_proj", c.hidden_size, c.intermediate_size, o.mlp_bias),
      up_proj(layer_path(i) + "mlp.up_proj", c.hidden_size, c.intermediate_size, o.mlp_bias),
      down_proj(layer_path(i) + "mlp.down_proj", c.intermediate_size, c.hidden_size, o.mlp_bias) {
  if (!o.qk_norm) return;
  q_norm = std::make_unique<RMSNorm>(layer_path(i) + "self_attn.q_norm", c.head_dim, c.rms_norm_eps);
  k_norm = std::make_unique<RMSNorm>(layer_path(i) + "self_attn.k_norm", c.head_dim, c.rms_norm_eps);
}

bool DecoderLayer::trainable() {
  for (Linear* linear : linears())
    if (linear->trainable()) return true;
  for (RMSNorm* norm : norms())
    if (norm->weight->trainable) return true;
  return false;
}

class Decoder final : public CausalLM {
 public:
  Decoder(const ModelConfig& config, DecoderOptions options)
      : CausalLM(config),
        options_(std::move(options)),
        embed_tokens_("model.embed_tokens", config.vocab_size, config.hidden_size),
        norm_("model.norm", config.hidden_size, config.rms_norm_eps),
        lm_head_("lm_head", config.hidden_size, config.vocab_size, false),
        rotary_(config.rotary) {
    for (int64_t i = 0; i < config.num_hidden_layers; ++i)
      layers_.push_back(std::make_unique<DecoderLayer>(config, options_, i));
    if (config.tie_word_embeddings) lm_head_.weight = embed_tokens_.weight;
  }

  Var hidden_states(Context& context, const ModelInput& input) override {
    Var x = embed_tokens_.forward(context, input.ids);
    PackingRef packing = input.packing;
    Prefixes prefixes;
    const bool prompted = prompt && prompt->active && starts_fresh(input.caches);
    if (prompted && prompt->in_embeddings()) {
      x = prepend_rows(context, prompt->embeddings(context), x, packing->cu_seqlens);
      packing = with_virtual_tokens(*packing, prompt->virtual_tokens());
    } else if (prompted) {
      prefixes = prompt->prefixes(context);
      packing = behind_virtual_keys(*packing, prompt->virtual_tokens(), input.caches.empty());
      fill_caches(prefixes, input.caches, context.compute);
    }
    int64_t positions = 1;
    for (int32_t p : packing->positions) positions = std::max<int64_t>(positions, p + 1);
    RotaryTable table = rotary_.table(positions);
    // Each block hands on its residual stream and the MLP output that has not been added yet, so that the
    // addition and the next norm are one pass over memory.
    std::vector<Var> state = {x};
    int64_t count = static_cast<int64_t>(layers_.size());
    for (int64_t i = 0; i < count; ++i) {
      if (i + 1 < count) gate_->prefetch(i + 1);
      gate_->acquire(i);
      const bool prefixed = !prefixes.empty() && input.caches.empty();
      if (prefixed) {
        // Inputs of the block, so that their gradients survive recomputation.
        state.push_back(prefixes[static_cast<size_t>(i)].first);
        state.push_back(prefixes[static_cast<size_t>(i)].second);
      }
      Block body = [this, i, packing, table, caches = input.caches, prefixed](Context& c,
                                                                              std::vector<Var> in) {
        std::pair<Var, Var> prefix;
        if (prefixed) {
          prefix = {in[in.size() - 2], in[in.size() - 1]};
          in.resize(in.size() - 2);
        }
        return block(c, i, in, packing, table, caches, prefix);
      };
      state = input.gradient_checkpointing
                  ? checkpoint(context, state, layers_[static_cast<size_t>(i)]->trainable(), body)
                  : body(context, state);
      gate_->release(i);
    }
    for (size_t s = 0; s < input.caches.size(); ++s) {
      input.caches[s]->advance(packing->cu_seqlens[s + 1] - packing->cu_seqlens[s]);
      if (prompted) input.caches[s]->set_virtual_tokens(prompt->virtual_tokens());
    }
    Var normed = add_rms_norm(context, state[0], state[1], *norm_.weight, norm_.eps).second;
    if (!prompted || !prompt->in_embeddings()) return normed;
    return select_rows(context, normed,
                       real_rows(*input.packing, prompt->virtual_tokens(), input.with_prompt_outputs));
  }

  Var logits(Context& context, const Var& hidden) override { return lm_head_.forward(context, hidden); }

  std::vector<Linear*> linears() override {
    std::vector<Linear*> all;
    for (auto& layer : layers_)
      for (Linear* linear : layer->linears()) all.push_back(linear);
    all.push_back(&lm_head_);
    return all;
  }
  std::vector<Embedding*> embeddings() override { return {&embed_tokens_}; }
  std::vector<RMSNorm*> norms() override {
    std::vector<RMSNorm*> all;
    for (auto& layer : layers_)
      for (RMSNorm* norm : layer->norms()) all.push_back(norm);
    all.push_back(&norm_);
    return all;
  }
  Linear& head() override { return lm_head_; }

  std::vector<Parameter*> parameters() override {
    std::vector<Parameter*> all = {embed_tokens_.weight.get()};
    for (auto& layer : layers_) {
      for (Linear* linear : layer->linears()) {
        all.push_back(linear->weight.get());
        if (linear->bias) all.push_back(linear->bias.get());
      }
      for (RMSNorm* norm : layer->norms()) all.push_back(norm->weight.get());
    }
    all.push_back(norm_.weight.get());
    if (lm_head_.weight != embed_tokens_.weight) all.push_back(lm_head_.weight.get());
    return all;
  }

 private:
  std::vector<Var> block(Context& c, int64_t index, const std::vector<Var>& in, const PackingRef& packing,
                         const RotaryTable& table, const std::vector<KVCache*>& caches,
                         const std::pair<Var, Var>& prefix) {
    DecoderLayer& layer = *layers_[static_cast<size_t>(index)];
    Var residual, normed;
    if (in.size() == 1) {
      residual = in[0];
      normed = rms_norm(c, residual, *layer.input_layernorm.weight, layer.input_layernorm.eps);
    } else {
      std::tie(residual, normed) =
          add_rms_norm(c, in[0], in[1], *layer.input_layernorm.weight, layer.input_layernorm.eps);
    }
    Var attended =
        layer.o_proj.forward(c, self_attention(c, layer, index, normed, packing, table, caches, prefix));
    RMSNorm& norm = layer.post_attention_layernorm;
    std::tie(residual, normed) = add_rms_norm(c, residual, attended, *norm.weight, norm.eps);
    Var gated = swiglu(c, layer.gate_proj.forward(c, normed), layer.up_proj.forward(c, normed));
    return {residual, layer.down_proj.forward(c, gated)};
  }

  Var self_attention(Context& c, DecoderLayer& layer, int64_t index, const Var& x, const PackingRef& packing,
                     const RotaryTable& table, const std::vector<KVCache*>& caches,
                     const std::pair<Var, Var>& prefix) {
    const ModelConfig& config = this->config();
    int64_t tokens = x.value.rows(), heads = config.num_attention_heads,
            kv_heads = config.num_key_value_heads;
    int64_t dim = config.head_dim;
    Var q = reshape(layer.q_proj.forward(c, x), {tokens, heads, dim});
    Var k = reshape(layer.k_proj.forward(c, x), {tokens, kv_heads, dim});
    Var v = reshape(layer.v_proj.forward(c, x), {tokens, kv_heads, dim});
    if (layer.q_norm) {
      q = layer.q_norm->forward(c, q);
      k = layer.k_norm->forward(c, k);
    }
    q = rotary(c, q, packing, table);
    k = rotary(c, k, packing, table);
    if (prefix.first.value.defined()) {
      k = prepend_rows(c, prefix.first, k, packing->cu_seqlens);
      v = prepend_rows(c, prefix.second, v, packing->cu_seqlens);
    }
    AttentionOptions options{
        .scale = 1.0f / std::sqrt(static_cast<float>(dim)),
        .causal = true,
        .window = options_.windows.empty() ? 0 : options_.windows[static_cast<size_t>(index)]};
    Var out = caches.empty()
                  ? attention(c, q, k, v, packing, options)
                  : Var(cached_attention(c, index, q.value, k.value, v.value, *packing, options, caches));
    return reshape(out, {tokens, heads * dim});
  }

  using Prefixes = std::vector<std::pair<Var, Var>>;

  // A prompt goes before the first tokens of a sequence only.
  static bool starts_fresh(const std::vector<KVCache*>& caches) {
    size_t fresh = 0;
    for (const KVCache* cache : caches) fresh += cache->length() == 0;
    FETTLE_CHECK(fresh == 0 || fresh == caches.size(), "{} of {} caches are empty", fresh, caches.size());
    return caches.empty() || fresh > 0;
  }

  void fill_caches(const Prefixes& prefixes, const std::vector<KVCache*>& caches, DType dtype) {
    for (KVCache* cache : caches) {
      for (size_t i = 0; i < prefixes.size(); ++i) {
        Tensor keys, values;
        cache->append(static_cast<int64_t>(i), prefixes[i].first.value.to(dtype),
                      prefixes[i].second.value.to(dtype), keys, values);
      }
      cache->advance(prompt->virtual_tokens());
    }
  }

  // Keys of each sequence live in its own cache, so sequences attend one after another.
  Tensor cached_attention(Context& c, int64_t index, const Tensor& q, const Tensor& k, const Tensor& v,
                          const Packing& packing, const AttentionOptions& options,
                          const std::vector<KVCache*>& caches) {
    FETTLE_CHECK(!c.tape, "a key-value cache is for inference");
    Tensor out = Tensor::empty(q.shape(), q.dtype()), lse;
    for (size_t s = 0; s < caches.size(); ++s) {
      int32_t begin = packing.cu_seqlens[s], end = packing.cu_seqlens[s + 1];
      Tensor keys, values;
      caches[s]->append(index, k.rows_view(begin, end), v.rows_view(begin, end), keys, values);
      std::array<int32_t, 2> cu_q = {0, end - begin}, cu_k = {0, static_cast<int32_t>(keys.dim(0))};
      AttentionSpec spec{
          .cu_q = cu_q, .cu_k = cu_k, .scale = options.scale, .causal = true, .window = options.window};
      Tensor rows = out.rows_view(begin, end);
      c.backend->attention(q.rows_view(begin, end), keys, values, spec, rows, lse);
    }
    return out;
  }

  DecoderOptions options_;
  Embedding embed_tokens_;
  std::vector<std::unique_ptr<DecoderLayer>> layers_;
  RMSNorm norm_;
  Linear lm_head_;
  RotaryEmbedding rotary_;
  std::unique_ptr<WeightGate> gate_ = std::make_unique<WeightGate>();
};

}  // namespace

std::unique_ptr<CausalLM> make_decoder(const ModelConfig& config, const DecoderOptions& options) {
  return std::make_unique<Decoder>(config, options);
}

}  // namespace fettle
