// What a method adds to the outputs of a layer's attention and MLP, before they join the residual stream.
#pragma once
#include <memory>
#include <string>
#include <vector>

#include "fettle/autograd/ops.h"

namespace fettle {

class SublayerMethod {
 public:
  virtual ~SublayerMethod() = default;
  /// The output of the sublayer with the method in place; `residual` is the stream that it will be added to.
  virtual Var forward(Context& context, const Var& output, const Var& residual) = 0;
  virtual std::vector<Parameter*> parameters() = 0;
  bool active = true;
};

/// The two places of one layer.
struct Sublayers {
  std::string path;  ///< "model.layers.0"
  std::vector<std::shared_ptr<SublayerMethod>> after_attention, after_mlp;
};

inline Var apply_sublayer(Context& context, const std::vector<std::shared_ptr<SublayerMethod>>& methods,
                          Var output, const Var& residual) {
  for (const auto& method : methods)
    if (method->active) output = method->forward(context, output, residual);
  return output;
}

}  // namespace fettle
