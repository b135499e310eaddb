// GPT2LMHeadModel (Radford et al., 2019; transformers modeling_gpt2.py): LayerNorm, learned positions, one
// projection for q, k and v, weights stored [in, out]. Dropout of config.json (attn_pdrop, embd_pdrop,
// resid_pdrop) is not applied.
#include "fettle/base/error.h"
#include "fettle/models/architectures.h"
#include "fettle/models/decoder.h"

namespace fettle {
namespace {

Activation activation_of(const ModelConfig& config, const ConfigFields& fields) {
  std::string name = fields.string("activation_function", "gelu_new");
  if (name == "gelu_new" || name == "gelu_pytorch_tanh") return Activation::kGeluTanh;
  if (name == "gelu") return Activation::kGelu;
  if (name == "relu") return Activation::kRelu;
  if (name == "silu" || name == "swish") return Activation::kSilu;
  if (name == "tanh") return Activation::kTanh;
  fail_input("{}: activation_function is \"{}\"; known: gelu_new, gelu_pytorch_tanh, gelu, relu, silu, tanh",
             config.path.string(), printable(name));
}

class Gpt2Block final : public DecoderBlock {
 public:
  Gpt2Block(const ModelConfig& c, Activation activation, int64_t index)
      : path_(fmt::format("transformer.h.{}.", index)),
        heads_(c.num_attention_heads),
        dim_(c.head_dim),
        activation_(activation),
        ln_1_(path_ + "ln_1", c.hidden_size, c.rms_norm_eps, true, true),
        ln_2_(path_ + "ln_2", c.hidden_size, c.rms_norm_eps, true, true),
        c_attn_(path_ + "attn.c_attn", c.hidden_size, 3 * c.hidden_size, true, true),
        attn_c_proj_(path_ + "attn.c_proj", c.hidden_size, c.hidden_size, true, true),
        c_fc_(path_ + "mlp.c_fc", c.hidden_size, c.intermediate_size, true, true),
        mlp_c_proj_(path_ + "mlp.c_proj", c.intermediate_size, c.hidden_size, true, true) {
    sublayers.path = fmt::format("transformer.h.{}", index);
  }

  std::vector<Var> forward(Context& c, const std::vector<Var>& in, const BlockInput& input) override {
    auto [residual, normed] = enter(c, in, ln_1_);
    Var qkv = c_attn_.forward(c, normed);
    const int64_t tokens = normed.value.rows(), width = heads_ * dim_;
    auto part = [&](int64_t i) {
      return reshape(select_columns(c, qkv, i * width, (i + 1) * width), {tokens, heads_, dim_});
    };
    Var attended = attn_c_proj_.forward(c, attend(c, part(0), part(1), part(2), input));
    attended = apply_sublayer(c, sublayers.after_attention, attended, residual);
    auto [sum, mlp_in] = ln_2_.add_forward(c, residual, attended);
    Var out = mlp_c_proj_.forward(c, activate(c, activation_, c_fc_.forward(c, mlp_in)));
    return {sum, apply_sublayer(c, sublayers.after_mlp, out, sum)};
  }

  std::vector<Linear*> linears() override { return {&c_attn_, &attn_c_proj_, &c_fc_, &mlp_c_proj_}; }
  std::vector<Norm*> norms() override { return {&ln_1_, &ln_2_}; }

 private:
  std::string path_;
  int64_t heads_, dim_;
  Activation activation_;
  Norm ln_1_, ln_2_;
  Linear c_attn_, attn_c_proj_, c_fc_, mlp_c_proj_;
};

}  // namespace

std::unique_ptr<CausalLM> build_gpt2(const ModelConfig& config) {
  ConfigFields fields(*config.raw, config.path.string());
  if (!fields.boolean("scale_attn_weights", true) || fields.boolean("scale_attn_by_inverse_layer_idx", false))
    fail_input("{}: scale_attn_weights: false and scale_attn_by_inverse_layer_idx: true are not supported",
               config.path.string());
  DecoderParts parts{
      .embedding = "transformer.wte", .position_embedding = "transformer.wpe", .blocks = {}, .norm = {}};
  Activation activation = activation_of(config, fields);
  for (int64_t i = 0; i < config.num_hidden_layers; ++i)
    parts.blocks.push_back(std::make_unique<Gpt2Block>(config, activation, i));
  parts.norm =
      std::make_unique<Norm>("transformer.ln_f", config.hidden_size, config.rms_norm_eps, true, true);
  return make_decoder(config, std::move(parts));
}

}  // namespace fettle
