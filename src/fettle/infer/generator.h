// Text generation with a key-value cache, and scoring of given tokens.
#pragma once
#include <functional>
#include <memory>
#include <vector>

#include "fettle/infer/sampling.h"
#include "fettle/models/causal_lm.h"

namespace fettle {

enum class FinishReason { kStop, kLength, kCancelled };

struct GenerationOptions {
  SamplingOptions sampling;
  int64_t max_new_tokens = 512;
  std::vector<int32_t> stop_ids;  ///< not part of the result
};

struct Generation {
  std::vector<int32_t> ids;  ///< new tokens, the stop token excluded
  FinishReason reason = FinishReason::kLength;
  double prompt_seconds = 0, decode_seconds = 0;
  int64_t prompt_tokens_computed = 0;  ///< prompt tokens not found in the cache
};

/// Called with each new token; false stops.
using TokenCallback = std::function<bool(int32_t)>;

/// One conversation with a model. Tokens already in the cache are not computed again, so a chat's next turn
/// costs only what is new.
class Generator {
 public:
  Generator(CausalLM& model, Backend& backend, DType compute);
  Generation generate(const std::vector<int32_t>& prompt, const GenerationOptions& options,
                      const TokenCallback& callback = {});
  void forget();

 private:
  Tensor last_logits(const std::vector<int32_t>& ids);
  CausalLM& model_;
  Backend& backend_;
  DType compute_;
  KVCache cache_;
  std::vector<int32_t> cached_ids_;
};

/// Error(kBadInput) for an id that the model does not have.
void check_token_ids(const CausalLM& model, const std::vector<int32_t>& ids);
/// log p(ids[t] | ids[<t]) for t = 1 … n-1, as f32 log-soft-max of the logits.
std::vector<float> token_log_probabilities(CausalLM& model, Backend& backend, DType compute,
                                           const std::vector<int32_t>& ids);
/// Logits of every position, f32 [n, vocab_size].
Tensor all_logits(CausalLM& model, Backend& backend, DType compute, const std::vector<int32_t>& ids);

}  // namespace fettle
