#include "fettle/nn/modules.h"

namespace fettle {

Linear::Linear(std::string p, int64_t in, int64_t out, bool with_bias, bool conv)
    : path(std::move(p)), in_features(in), out_features(out), conv1d(conv) {
  weight = std::make_shared<Parameter>(path + ".weight", conv1d ? Shape{in, out} : Shape{out, in});
  if (with_bias) bias = std::make_shared<Parameter>(path + ".bias", Shape{out});
}

Var Linear::forward(Context& context, const Var& x) {
  if (method) return method->forward(context, *this, x);
  return linear(context, x, *weight, bias.get(), conv1d);
}

bool Linear::trainable() const {
  if (weight->trainable || (bias && bias->trainable)) return true;
  if (method)
    for (const Parameter* parameter : method->parameters())
      if (parameter->trainable) return true;
  return false;
}

Embedding::Embedding(std::string p, int64_t rows, int64_t width)
    : path(std::move(p)), weight(std::make_shared<Parameter>(path + ".weight", Shape{rows, width})) {}

RMSNorm::RMSNorm(std::string p, int64_t width, float e)
    : path(std::move(p)), eps(e), weight(std::make_shared<Parameter>(path + ".weight", Shape{width})) {}

}  // namespace fettle
