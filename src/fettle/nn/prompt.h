// Learned vectors that stand before every sequence: virtual tokens, or keys and values of every layer.
#pragma once
#include <utility>
#include <vector>

#include "fettle/autograd/ops.h"

namespace fettle {

class PromptMethod {
 public:
  virtual ~PromptMethod() = default;
  virtual int64_t virtual_tokens() const = 0;
  /// [virtual_tokens, hidden_size], as if they were embeddings; no value for a method of the other kind.
  virtual Var embeddings(Context& context) = 0;
  /// For each layer keys (as after the rotation) and values [virtual_tokens, kv_heads, head_dim]; empty for a
  /// method of the other kind.
  virtual std::vector<std::pair<Var, Var>> prefixes(Context& context) = 0;
  virtual bool in_embeddings() const = 0;
  virtual std::vector<Parameter*> parameters() = 0;
  bool active = true;
};

}  // namespace fettle
