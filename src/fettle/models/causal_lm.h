// Causal language models: what training, inference and adapters see of a model.
#pragma once
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "fettle/models/config.h"
#include "fettle/models/kv_cache.h"
#include "fettle/nn/modules.h"
#include "fettle/nn/prompt.h"
#include "fettle/nn/sublayer.h"

namespace fettle {

/// One packed row of tokens.
struct ModelInput {
  std::shared_ptr<const std::vector<int32_t>> ids;  ///< [T]
  PackingRef packing;
  /// One cache for each sequence of the packing, inference only; empty: none. Keys then start at the cache's
  /// length.
  std::vector<KVCache*> caches;
  /// With a prompt of virtual tokens: hidden_states also returns, after all rows, the last virtual token of
  /// each sequence, which predicts its first token.
  bool with_prompt_outputs = false;
  /// Recompute each block in backward instead of keeping its activations.
  bool gradient_checkpointing = false;
};

/// Input of S sequences that start at position `starts[s]` (0 when empty).
ModelInput make_input(const std::vector<std::vector<int32_t>>& sequences,
                      const std::vector<KVCache*>& caches = {});

class CausalLM {
 public:
  explicit CausalLM(ModelConfig config) : config_(std::move(config)) {}
  virtual ~CausalLM() = default;
  CausalLM(const CausalLM&) = delete;
  CausalLM& operator=(const CausalLM&) = delete;

  const ModelConfig& config() const { return config_; }
  /// Last hidden states after the final norm [T, hidden_size], of the tokens given; a prompt's own are left
  /// out.
  virtual Var hidden_states(Context& context, const ModelInput& input) = 0;
  /// Logits [rows, vocab_size] of hidden states.
  virtual Var logits(Context& context, const Var& hidden) = 0;

  /// All linears / embeddings in HF order; tied heads appear as a Linear whose weight is the embedding's.
  virtual std::vector<Linear*> linears() = 0;
  virtual std::vector<Embedding*> embeddings() = 0;
  virtual std::vector<Norm*> norms() = 0;
  /// The places between the layers, one entry a layer.
  virtual std::vector<Sublayers*> sublayers() = 0;
  /// The output head (also part of linears()).
  virtual Linear& head() = 0;
  /// Every base weight once (a tied head is not repeated), in HF's state-dict order.
  virtual std::vector<Parameter*> parameters() = 0;
  /// Paths of all modules, for messages and target matching.
  std::vector<std::string> linear_paths();
  Linear* find_linear(const std::string& path);
  /// Whether anything in the head is trainable.
  bool head_trainable();

  /// Puts the model together anew from layers `sources`, which may come several times: each place has modules
  /// of its own, with paths by place, and shares the weights of its source. Error(kUsage) where the
  /// architecture does not know how.
  virtual void replicate_layers(const std::vector<int64_t>& sources);
  /// Takes the last replicate_layers() back.
  virtual void restore_layers() {}

  /// Put before every sequence that has no cached tokens yet; may be null.
  std::shared_ptr<PromptMethod> prompt;

 protected:
  void set_layer_count(int64_t count) { config_.num_hidden_layers = count; }

 private:
  ModelConfig config_;
};

/// Layers replicated for as long as it lives: `ranges` [first, end) one after another, as PEFT's
/// layer_replication. Error(kBadInput) naming `origin` for a range that the model does not have.
class ReplicatedLayers {
 public:
  ReplicatedLayers(CausalLM& model, const std::vector<std::pair<int64_t, int64_t>>& ranges,
                   const std::string& origin);
  ~ReplicatedLayers() { model_.restore_layers(); }
  ReplicatedLayers(const ReplicatedLayers&) = delete;
  ReplicatedLayers& operator=(const ReplicatedLayers&) = delete;

 private:
  CausalLM& model_;
};

/// Builds the model that config.json names, without weights. Unknown architectures: Error(kBadInput) with the
/// known list.
std::unique_ptr<CausalLM> build_model(const ModelConfig& config);
/// Architectures of `architectures` that build_model knows.
std::vector<std::string> known_architectures();

using ModelBuilder = std::unique_ptr<CausalLM> (*)(const ModelConfig&);
struct Architecture {
  const char* name;  ///< as in config.json: "Qwen2ForCausalLM"
  ModelBuilder build;
};

}  // namespace fettle
