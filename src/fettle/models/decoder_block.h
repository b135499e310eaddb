// One layer of a decoder, and what all kinds of layers share.
#pragma once
#include <memory>
#include <utility>
#include <vector>

#include "fettle/models/causal_lm.h"

namespace fettle {

/// What a pass hands to every layer.
struct BlockInput {
  PackingRef packing;
  RotaryTable rotary;                             ///< undefined for learned positions
  const std::vector<KVCache*>* caches = nullptr;  ///< of each sequence; empty: none
  std::pair<Var, Var> prefix;                     ///< keys and values before every sequence; may be undefined
  int64_t index = 0;                              ///< of the layer
};

class DecoderBlock {
 public:
  virtual ~DecoderBlock() = default;
  /// In: the residual stream and, from the second layer on, the MLP output of the layer before, which has not
  /// been added yet, so that the addition and the next norm are one pass over memory. Out: the same two.
  virtual std::vector<Var> forward(Context& context, const std::vector<Var>& in, const BlockInput& input) = 0;
  virtual std::vector<Linear*> linears() = 0;
  virtual std::vector<Norm*> norms() = 0;
  bool trainable();
  Sublayers sublayers;

 protected:
  /// The residual stream and its norm at the beginning of a layer.
  static std::pair<Var, Var> enter(Context& context, const std::vector<Var>& in, Norm& norm);
};

/// Causal attention of q [T, heads, dim] on k, v [T, kv_heads, dim] and what lies before them in caches or as
/// a prefix; [T, heads * dim].
Var attend(Context& context, const Var& q, Var k, Var v, const BlockInput& input, int64_t window = 0);

}  // namespace fettle
