// Methods on the input embedding: LoRA, and the training of chosen rows.
#pragma once
#include <optional>

#include "fettle/peft/adapter.h"

namespace fettle {

/// E[x] + s Aᵀ[x] Bᵀ; A [r, vocab] begins as zero, B [dim, r] normal. PEFT: tuners/lora/layer.py, Embedding.
class LoraEmbeddingMethod final : public EmbeddingMethod {
 public:
  LoraEmbeddingMethod(const Embedding& embedding, int64_t rank, double scale);
  Var forward(Context& context, const Var& rows, const std::vector<int32_t>& ids) override;
  std::vector<Parameter*> parameters() override { return {a.get(), b.get()}; }
  void merge(Tensor& weight) const override;

  std::shared_ptr<Parameter> a, b;

 private:
  float scale_;
};

/// An embedding with a method on it for as long as this lives.
struct EmbeddingSite {
  EmbeddingSite(Embedding& e, std::shared_ptr<LoraEmbeddingMethod> m) : embedding(&e), method(std::move(m)) {
    embedding->methods.push_back(method);
  }
  EmbeddingSite(EmbeddingSite&& other) noexcept
      : embedding(std::exchange(other.embedding, nullptr)), method(other.method) {}
  ~EmbeddingSite() {
    if (embedding) std::erase(embedding->methods, std::static_pointer_cast<EmbeddingMethod>(method));
  }
  Embedding* embedding;
  std::shared_ptr<LoraEmbeddingMethod> method;
};

/// Rows of the input embedding that are trained (PEFT: tuners/trainable_tokens): their values, not
/// differences. A head that shares the table sees them too. Mounted while it lives; rows begin as they are in
/// the base.
class TokenRows {
 public:
  /// Error(kBadInput) naming `origin` for an index outside the vocabulary or named twice.
  TokenRows(CausalLM& model, const std::vector<int64_t>& indices, const std::string& key,
            const std::string& origin);
  ~TokenRows();
  TokenRows(const TokenRows&) = delete;
  Parameter* rows() const { return rows_.get(); }
  void activate(bool active);

 private:
  CausalLM& model_;
  std::shared_ptr<Parameter> rows_;  ///< [indices, dim]
  std::shared_ptr<EmbeddingMethod> on_embedding_;
  std::shared_ptr<LinearMethod> on_head_;  ///< null without a tied head
};

/// "embed_tokens", or "wte" for GPT-2.
std::string input_embedding_name(CausalLM& model);
/// A list of token ids, or {"embed_tokens": list}; empty when the key is unset.
std::vector<int64_t> read_token_indices(const AdapterConfig& config, const char* key);

}  // namespace fettle
