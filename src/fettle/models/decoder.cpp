#include "fettle/models/decoder.h"

#include <cmath>
#include <set>
#include <utility>

#include "fettle/base/error.h"
#include "fettle/base/random.h"
#include "fettle/base/threads.h"
#include "fettle/models/virtual_tokens.h"

namespace fettle {
namespace {

class Decoder final : public CausalLM {
 public:
  Decoder(const ModelConfig& config, DecoderParts parts)
      : CausalLM(config),
        embed_tokens_(parts.embedding, config.vocab_size, config.hidden_size),
        layers_(std::move(parts.blocks)),
        norm_(std::move(parts.norm)),
        lm_head_("lm_head", config.hidden_size, config.vocab_size, false),
        rotary_(config.rotary),
        make_block_(std::move(parts.make_block)) {
    if (!parts.position_embedding.empty())
      positions_ = std::make_unique<Embedding>(parts.position_embedding, config.max_position_embeddings,
                                               config.hidden_size);
    if (config.tie_word_embeddings) lm_head_.weight = embed_tokens_.weight;
  }

  Var hidden_states(Context& context, const ModelInput& input) override {
    Var x = embed_tokens_.forward(context, input.ids);
    if (context.training && context.neftune_alpha > 0)
      x = add(context, x, Var(embedding_noise(context, input.packing->cu_seqlens)));
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
    if (positions_) x = add(context, x, learned_positions(context, packing->positions, positions));
    RotaryTable table = positions_ ? RotaryTable() : rotary_.table(positions);
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
      DecoderBlock* layer = layers_[static_cast<size_t>(i)].get();
      Block body = [i, layer, packing, table, caches = input.caches, prefixed](Context& c,
                                                                               std::vector<Var> in) {
        BlockInput block{.packing = packing, .rotary = table, .caches = &caches, .prefix = {}, .index = i};
        if (prefixed) {
          block.prefix = {in[in.size() - 2], in[in.size() - 1]};
          in.resize(in.size() - 2);
        }
        return layer->forward(c, in, block);
      };
      state = input.gradient_checkpointing ? checkpoint(context, state, layer->trainable(), body)
                                           : body(context, state);
      gate_->release(i);
    }
    for (size_t s = 0; s < input.caches.size(); ++s) {
      input.caches[s]->advance(packing->cu_seqlens[s + 1] - packing->cu_seqlens[s]);
      if (prompted) input.caches[s]->set_virtual_tokens(prompt->virtual_tokens());
    }
    Var normed = norm_->add_forward(context, state[0], state[1]).second;
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
  std::vector<Embedding*> embeddings() override {
    if (positions_) return {&embed_tokens_, positions_.get()};
    return {&embed_tokens_};
  }
  std::vector<Norm*> norms() override {
    std::vector<Norm*> all;
    for (auto& layer : layers_)
      for (Norm* norm : layer->norms()) all.push_back(norm);
    all.push_back(norm_.get());
    return all;
  }
  std::vector<Sublayers*> sublayers() override {
    std::vector<Sublayers*> all;
    for (auto& layer : layers_) all.push_back(&layer->sublayers);
    return all;
  }
  Linear& head() override { return lm_head_; }

  std::vector<Parameter*> parameters() override {
    std::vector<Parameter*> all = {embed_tokens_.weight.get()};
    if (positions_) all.push_back(positions_->weight.get());
    for (auto& layer : layers_) {
      for (Linear* linear : layer->linears()) {
        all.push_back(linear->weight.get());
        if (linear->bias) all.push_back(linear->bias.get());
      }
      for (Norm* norm : layer->norms()) add_norm(*norm, all);
    }
    if (!replaced_.empty()) drop_repeated(all);
    add_norm(*norm_, all);
    if (lm_head_.weight != embed_tokens_.weight) all.push_back(lm_head_.weight.get());
    return all;
  }

  void replicate_layers(const std::vector<int64_t>& sources) override {
    if (!make_block_) CausalLM::replicate_layers(sources);
    std::vector<std::unique_ptr<DecoderBlock>> layers;
    for (int64_t source : sources) {
      layers.push_back(make_block_(static_cast<int64_t>(layers.size()), source));
      share_weights(*layers_[static_cast<size_t>(source)], *layers.back());
    }
    replaced_.push_back(std::exchange(layers_, std::move(layers)));
    set_layer_count(static_cast<int64_t>(layers_.size()));
  }
  void restore_layers() override {
    layers_ = std::move(replaced_.back());
    replaced_.pop_back();
    set_layer_count(static_cast<int64_t>(layers_.size()));
  }

 private:
  static void share_weights(DecoderBlock& from, DecoderBlock& to) {
    std::vector<Linear*> linears = from.linears(), own_linears = to.linears();
    for (size_t i = 0; i < linears.size(); ++i) {
      own_linears[i]->weight = linears[i]->weight;
      own_linears[i]->bias = linears[i]->bias;
    }
    std::vector<Norm*> norms = from.norms(), own_norms = to.norms();
    for (size_t i = 0; i < norms.size(); ++i) {
      own_norms[i]->weight = norms[i]->weight;
      own_norms[i]->bias = norms[i]->bias;
    }
  }
  static void drop_repeated(std::vector<Parameter*>& all) {
    std::set<const Parameter*> seen;
    std::erase_if(all, [&](const Parameter* p) { return !seen.insert(p).second; });
  }

  using Prefixes = std::vector<std::pair<Var, Var>>;

  static void add_norm(Norm& norm, std::vector<Parameter*>& all) {
    all.push_back(norm.weight.get());
    if (norm.bias) all.push_back(norm.bias.get());
  }

  // U(-1, 1) alpha / sqrt(L width) for each element of a sequence of L tokens, as Trainer's
  // neftune_post_forward_hook.
  Tensor embedding_noise(const Context& context, const std::vector<int32_t>& cu_seqlens) const {
    const int64_t width = config().hidden_size;
    Tensor noise = Tensor::empty({cu_seqlens.back(), width}, DType::kF32, MemoryKind::kWorkspace);
    constexpr uint32_t kSite = 0x6e656674;
    for (size_t s = 0; s + 1 < cu_seqlens.size(); ++s) {
      const int64_t length = cu_seqlens[s + 1] - cu_seqlens[s];
      const float size =
          context.neftune_alpha / std::sqrt(static_cast<float>(std::max<int64_t>(1, length) * width));
      parallel_for(length, [&](int64_t t) {
        const int64_t row = cu_seqlens[s] + t;
        // One stream a token: the micro-batch and the row name it.
        RandomStream stream(
            {context.seed, RandomUse::kDropout, kSite, (context.step << 24) + static_cast<uint64_t>(row)});
        float* out = noise.data<float>() + row * width;
        for (int64_t c = 0; c < width; ++c) out[c] = (2.0f * stream.uniform() - 1.0f) * size;
      });
    }
    return noise.to(context.compute, MemoryKind::kWorkspace);
  }

  Var learned_positions(Context& context, const std::vector<int32_t>& positions, int64_t count) {
    if (count > config().max_position_embeddings)
      fail_usage(
          "{}: the model has {} learned positions, a sequence needs {}; shorten it (cutoff_len, "
          "max_new_tokens)",
          config().path.string(), config().max_position_embeddings, count);
    return positions_->forward(context, std::make_shared<const std::vector<int32_t>>(positions));
  }

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

  Embedding embed_tokens_;
  std::unique_ptr<Embedding> positions_;  // null: rotary
  std::vector<std::unique_ptr<DecoderBlock>> layers_;
  std::unique_ptr<Norm> norm_;
  Linear lm_head_;
  RotaryEmbedding rotary_;
  std::function<std::unique_ptr<DecoderBlock>(int64_t, int64_t)> make_block_;
  std::vector<std::vector<std::unique_ptr<DecoderBlock>>> replaced_;  // layers before each replication
  std::unique_ptr<WeightGate> gate_ = std::make_unique<WeightGate>();
};

}  // namespace

std::unique_ptr<CausalLM> make_decoder(const ModelConfig& config, DecoderParts parts) {
  return std::make_unique<Decoder>(config, std::move(parts));
}

}  // namespace fettle
