// Prompt tuning (Lester et al., arXiv 2104.08691), P-tuning (Liu et al., arXiv 2103.10385) and prefix tuning
// (Li & Liang, arXiv 2101.00190), which with trained keys and values in every layer is also P-tuning v2 (Liu
// et al., arXiv 2110.07602). PEFT: tuners/prompt_tuning, p_tuning, prefix_tuning.
#include <cmath>

#include "fettle/base/error.h"
#include "fettle/base/random.h"
#include "fettle/peft/dense_weight.h"
#include "fettle/peft/methods.h"
#include "fettle/peft/prompt_encoders.h"

namespace fettle {
namespace {

constexpr const char* kSavedName = "prompt_embeddings";

class EncodedPrompt final : public PromptMethod {
 public:
  /// `layers` 0: vectors in the place of embeddings; else keys and values of so many layers.
  EncodedPrompt(int64_t tokens, int64_t layers, int64_t kv_heads, int64_t head_dim)
      : tokens_(tokens), layers_(layers), kv_heads_(kv_heads), head_dim_(head_dim) {}
  int64_t virtual_tokens() const override { return tokens_; }
  bool in_embeddings() const override { return layers_ == 0; }
  Var embeddings(Context& context) override { return encoder->output(context); }
  // PEFT's layout: [tokens, layers, key and value, heads, head_dim].
  std::vector<std::pair<Var, Var>> prefixes(Context& context) override {
    Var all = encoder->output(context);
    int64_t width = kv_heads_ * head_dim_;
    std::vector<std::pair<Var, Var>> pairs;
    auto part = [&](int64_t index) {
      return reshape(select_columns(context, all, index * width, (index + 1) * width),
                     {tokens_, kv_heads_, head_dim_});
    };
    for (int64_t l = 0; l < layers_; ++l) pairs.emplace_back(part(2 * l), part(2 * l + 1));
    return pairs;
  }
  std::vector<Parameter*> parameters() override { return encoder->parameters(); }

  std::unique_ptr<PromptEncoder> encoder;

 private:
  int64_t tokens_, layers_, kv_heads_, head_dim_;
};

// What the three have in common: one prompt on the model, saved as what its encoder gives.
class PromptAdapter : public Adapter {
 public:
  PromptAdapter(CausalLM& model, AdapterConfig config) : Adapter(model, std::move(config)) {
    ConfigFields fields = config_.fields();
    tokens_ = fields.integer("num_virtual_tokens", std::nullopt, 1, 1 << 16);
    const ModelConfig& m = model_.config();
    if (fields.integer("num_transformer_submodules", 1, 1, 2) != 1)
      fail_input("{}: num_transformer_submodules is 2, as for sequence-to-sequence models", config_.origin);
    token_dim_ = m.hidden_size;
    heads_ = m.num_attention_heads;
  }
  ~PromptAdapter() override {
    if (model_.prompt == prompt_) model_.prompt.reset();
  }
  std::string why_not_mergeable() const override {
    return "a prompt stands before the text and cannot become part of the weights";
  }
  void begin_training(int64_t) override {
    if (loaded_ && encoded())
      fail_usage(
          "{}: PEFT's files hold what the prompt's encoder gave and not the encoder, so its training cannot "
          "go on; "
          "resume from a checkpoint of the run instead",
          config_.origin);
  }

 protected:
  /// Columns of the saved table, and the layers whose keys and values they are (0: embeddings).
  virtual int64_t width() const { return token_dim_; }
  virtual int64_t prefix_layers() const { return 0; }
  /// Whether the vectors come from an encoder rather than from a table.
  virtual bool encoded() const { return false; }
  virtual std::unique_ptr<PromptEncoder> make_encoder() const = 0;
  virtual Json method_keys() const = 0;

  void mount() override {
    if (model_.prompt)
      fail_usage("{}: the model carries another prompt already; one at a time can be mounted",
                 config_.origin);
    const ModelConfig& m = model_.config();
    prompt_ = std::make_shared<EncodedPrompt>(tokens_, prefix_layers(), m.num_key_value_heads, m.head_dim);
    prompt_->encoder = make_table_encoder(kSavedName, tokens_, width());
    model_.prompt = prompt_;
  }
  void initialise(uint64_t seed) override {
    if (encoded()) prompt_->encoder = make_encoder();
    prompt_->encoder->initialise(seed);
  }
  void take_tensors(std::map<std::string, Tensor>& tensors, const std::string& folder) override {
    loaded_ = true;
    Adapter::take_tensors(tensors, folder);
  }
  std::vector<Parameter*> own_parameters() const override { return prompt_->parameters(); }
  void activate(bool active) override { prompt_->active = active; }
  bool has_modules_to_save() const override { return true; }
  std::map<std::string, Tensor> saved_tensors() const override {
    Context context{.backend = &cpu_backend(), .compute = DType::kF32};
    std::map<std::string, Tensor> tensors = {{kSavedName, prompt_->encoder->output(context).value}};
    for (const Replacement& r : replacements_)
      tensors[std::string(kAdapterKeyPrefix) + r.copy->name] = r.copy->value;
    return tensors;
  }
  Json saved_keys() const override {
    Json keys = {{"num_virtual_tokens", tokens_},
                 {"token_dim", token_dim_},
                 {"num_transformer_submodules", 1},
                 {"num_attention_heads", heads_},
                 {"num_layers", model_.config().num_hidden_layers}};
    keys.update(method_keys());
    return keys;
  }

  int64_t tokens_, token_dim_, heads_;
  bool loaded_ = false;
  std::shared_ptr<EncodedPrompt> prompt_;
};

class PromptTuning final : public PromptAdapter {
 public:
  PromptTuning(CausalLM& model, AdapterConfig config) : PromptAdapter(model, std::move(config)) {
    init_ = config_.fields().string("prompt_tuning_init", "RANDOM");
    if (init_ != "RANDOM" && init_ != "SAMPLE_VOCAB" && init_ != "TEXT")
      fail_input("{}: prompt_tuning_init is \"{}\", expected RANDOM, SAMPLE_VOCAB or TEXT", config_.origin,
                 printable(init_));
  }
  std::string description() const override {
    return fmt::format("prompt tuning, {} virtual tokens", tokens_);
  }

 protected:
  std::unique_ptr<PromptEncoder> make_encoder() const override {
    return make_table_encoder(kSavedName, tokens_, token_dim_);
  }
  void initialise(uint64_t seed) override {
    PromptAdapter::initialise(seed);
    if (init_ == "RANDOM") return;
    Parameter& table = *own_parameters().front();
    const Parameter& words = *model_.embeddings().front()->weight;
    RandomStream stream({seed, RandomUse::kInit, random_site("prompt_tuning_init"), 0});
    std::vector<int64_t> ids = init_token_ids();
    for (int64_t i = 0; i < tokens_; ++i) {
      int64_t id = init_ == "TEXT"
                       ? ids[static_cast<size_t>(i) % ids.size()]
                       : static_cast<int64_t>(stream.below(static_cast<uint64_t>(words.shape[0])));
      Tensor row = f32_copy(words.value.rows_view(id, id + 1));
      std::copy_n(row.data<float>(), token_dim_, table.value.data<float>() + i * token_dim_);
    }
  }
  Json method_keys() const override {
    auto text = [&](const char* key) { return config_.is_set(key) ? config_.sorted()[key] : Json(); };
    return {{"prompt_tuning_init", init_},
            {"prompt_tuning_init_text", text("prompt_tuning_init_text")},
            {"tokenizer_name_or_path", text("tokenizer_name_or_path")},
            {"tokenizer_kwargs", nullptr}};
  }

 private:
  // The text of prompt_tuning_init_text, which the run has tokenised.
  std::vector<int64_t> init_token_ids() const {
    if (init_ != "TEXT") return {};
    std::vector<int64_t> ids;
    if (config_.is_set("init_token_ids"))
      ids = config_.sorted()["init_token_ids"].get<std::vector<int64_t>>();
    for (int64_t id : ids)
      if (id < 0 || id >= model_.config().vocab_size)
        fail_input("{}: init_token_ids holds {}, outside the vocabulary", config_.origin, id);
    if (ids.empty())
      fail_usage("prompt_tuning_init TEXT: give the text as prompt_tuning_init_text; it must have tokens");
    return ids;
  }
  std::string init_;
};

class PTuning final : public PromptAdapter {
 public:
  PTuning(CausalLM& model, AdapterConfig config) : PromptAdapter(model, std::move(config)) {
    ConfigFields fields = config_.fields();
    type_ = fields.string("encoder_reparameterization_type", "MLP");
    if (type_ != "MLP" && type_ != "LSTM")
      fail_input("{}: encoder_reparameterization_type is \"{}\", expected MLP or LSTM", config_.origin,
                 printable(type_));
    hidden_ = fields.integer("encoder_hidden_size", token_dim_, 1, 1 << 20);
    layers_ = fields.integer("encoder_num_layers", 2, 1, 64);
    dropout_ = fields.number("encoder_dropout", 0, 0, 1);
  }
  std::string description() const override {
    return fmt::format("P-tuning, {} virtual tokens from an {} of {}", tokens_, type_, hidden_);
  }

 protected:
  bool encoded() const override { return true; }
  std::unique_ptr<PromptEncoder> make_encoder() const override {
    if (type_ == "MLP") return make_mlp_encoder(tokens_, token_dim_, hidden_);
    return make_lstm_encoder(tokens_, token_dim_, hidden_, layers_, dropout_);
  }
  Json method_keys() const override {
    return {{"encoder_reparameterization_type", type_},
            {"encoder_hidden_size", hidden_},
            {"encoder_num_layers", layers_},
            {"encoder_dropout", dropout_}};
  }

 private:
  std::string type_;
  int64_t hidden_, layers_;
  double dropout_;
};

class PrefixTuning final : public PromptAdapter {
 public:
  PrefixTuning(CausalLM& model, AdapterConfig config) : PromptAdapter(model, std::move(config)) {
    const ModelConfig& m = model_.config();
    // With grouped queries the prefix has the heads of keys.
    heads_ = m.num_key_value_heads;
    token_dim_ = m.num_key_value_heads * m.head_dim;
    ConfigFields fields = config_.fields();
    projection_ = fields.boolean("prefix_projection", false);
    hidden_ = fields.integer("encoder_hidden_size", token_dim_, 1, 1 << 20);
    init_ = fields.string("init_weights", "");
    if (!init_.empty() && init_ != "zero")
      fail_input("{}: init_weights is \"{}\", expected null or zero", config_.origin, printable(init_));
  }
  std::string description() const override {
    return fmt::format("prefix tuning, {} keys and values in every layer{}", tokens_,
                       projection_ ? fmt::format(" from a projection of {}", hidden_) : "");
  }

 protected:
  int64_t width() const override { return 2 * prefix_layers() * token_dim_; }
  int64_t prefix_layers() const override { return model_.config().num_hidden_layers; }
  bool encoded() const override { return projection_; }
  std::unique_ptr<PromptEncoder> make_encoder() const override {
    return make_projection_encoder(tokens_, token_dim_, hidden_, width(), init_ == "zero");
  }
  void initialise(uint64_t seed) override {
    PromptAdapter::initialise(seed);
    if (init_ == "zero" && !projection_) fill_value(*own_parameters().front(), 0.0f);
  }
  Json method_keys() const override {
    return {{"prefix_projection", projection_},
            {"encoder_hidden_size", hidden_},
            {"init_weights", init_.empty() ? Json() : Json(init_)}};
  }

 private:
  bool projection_;
  int64_t hidden_;
  std::string init_;
};

}  // namespace

std::unique_ptr<Adapter> make_prompt_tuning(CausalLM& model, AdapterConfig config) {
  return std::make_unique<PromptTuning>(model, std::move(config));
}
std::unique_ptr<Adapter> make_p_tuning(CausalLM& model, AdapterConfig config) {
  return std::make_unique<PTuning>(model, std::move(config));
}
std::unique_ptr<Adapter> make_prefix_tuning(CausalLM& model, AdapterConfig config) {
  return std::make_unique<PrefixTuning>(model, std::move(config));
}

}  // namespace fettle
