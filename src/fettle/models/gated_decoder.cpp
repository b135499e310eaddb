#include "fettle/models/gated_decoder.h"

#include "fettle/base/error.h"
#include "fettle/models/decoder.h"

namespace fettle {
namespace {

class GatedBlock final : public DecoderBlock {
 public:
  /// `like`: the layer whose window it has.
  GatedBlock(const ModelConfig& c, const GatedDecoderOptions& o, int64_t index, int64_t like)
      : path_(fmt::format("model.layers.{}.", index)),
        heads_(c.num_attention_heads),
        kv_heads_(c.num_key_value_heads),
        dim_(c.head_dim),
        window_(o.windows.empty() ? 0 : o.windows[static_cast<size_t>(like)]),
        input_layernorm_(path_ + "input_layernorm", c.hidden_size, c.rms_norm_eps),
        post_attention_layernorm_(path_ + "post_attention_layernorm", c.hidden_size, c.rms_norm_eps),
        q_proj_(path_ + "self_attn.q_proj", c.hidden_size, heads_ * dim_, o.qkv_bias),
        k_proj_(path_ + "self_attn.k_proj", c.hidden_size, kv_heads_ * dim_, o.qkv_bias),
        v_proj_(path_ + "self_attn.v_proj", c.hidden_size, kv_heads_ * dim_, o.qkv_bias),
        o_proj_(path_ + "self_attn.o_proj", heads_ * dim_, c.hidden_size, o.output_bias),
        gate_proj_(path_ + "mlp.gate_proj", c.hidden_size, c.intermediate_size, o.mlp_bias),
        up_proj_(path_ + "mlp.up_proj", c.hidden_size, c.intermediate_size, o.mlp_bias),
        down_proj_(path_ + "mlp.down_proj", c.intermediate_size, c.hidden_size, o.mlp_bias) {
    sublayers.path = fmt::format("model.layers.{}", index);
    if (!o.qk_norm) return;
    q_norm_ = std::make_unique<Norm>(path_ + "self_attn.q_norm", dim_, c.rms_norm_eps);
    k_norm_ = std::make_unique<Norm>(path_ + "self_attn.k_norm", dim_, c.rms_norm_eps);
  }

  std::vector<Var> forward(Context& c, const std::vector<Var>& in, const BlockInput& input) override {
    auto [residual, normed] = enter(c, in, input_layernorm_);
    Var attended = o_proj_.forward(c, self_attention(c, normed, input));
    attended = apply_sublayer(c, sublayers.after_attention, attended, residual);
    auto [sum, mlp_in] = post_attention_layernorm_.add_forward(c, residual, attended);
    Var gated = swiglu(c, gate_proj_.forward(c, mlp_in), up_proj_.forward(c, mlp_in));
    return {sum, apply_sublayer(c, sublayers.after_mlp, down_proj_.forward(c, gated), sum)};
  }

  std::vector<Linear*> linears() override {
    return {&q_proj_, &k_proj_, &v_proj_, &o_proj_, &gate_proj_, &up_proj_, &down_proj_};
  }
  std::vector<Norm*> norms() override {
    if (q_norm_) return {q_norm_.get(), k_norm_.get(), &input_layernorm_, &post_attention_layernorm_};
    return {&input_layernorm_, &post_attention_layernorm_};
  }

 private:
  Var self_attention(Context& c, const Var& x, const BlockInput& input) {
    int64_t tokens = x.value.rows();
    Var q = reshape(q_proj_.forward(c, x), {tokens, heads_, dim_});
    Var k = reshape(k_proj_.forward(c, x), {tokens, kv_heads_, dim_});
    Var v = reshape(v_proj_.forward(c, x), {tokens, kv_heads_, dim_});
    if (q_norm_) {
      q = q_norm_->forward(c, q);
      k = k_norm_->forward(c, k);
    }
    q = rotary(c, q, input.packing, input.rotary);
    k = rotary(c, k, input.packing, input.rotary);
    return attend(c, q, k, v, input, window_);
  }

  std::string path_;
  int64_t heads_, kv_heads_, dim_, window_;
  Norm input_layernorm_, post_attention_layernorm_;
  Linear q_proj_, k_proj_, v_proj_, o_proj_, gate_proj_, up_proj_, down_proj_;
  std::unique_ptr<Norm> q_norm_, k_norm_;
};

}  // namespace

std::unique_ptr<CausalLM> make_gated_decoder(const ModelConfig& config, const GatedDecoderOptions& options) {
  DecoderParts parts;
  for (int64_t i = 0; i < config.num_hidden_layers; ++i)
    parts.blocks.push_back(std::make_unique<GatedBlock>(config, options, i, i));
  parts.make_block = [config, options](int64_t index, int64_t like) {
    return std::make_unique<GatedBlock>(config, options, index, like);
  };
  parts.norm = std::make_unique<Norm>("model.norm", config.hidden_size, config.rms_norm_eps);
  return make_decoder(config, std::move(parts));
}

}  // namespace fettle
