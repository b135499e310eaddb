#include "fettle/nn/modules.h"

namespace fettle {

Linear::Linear(std::string p, int64_t in, int64_t out, bool with_bias, bool conv)
    : path(std::move(p)), in_features(in), out_features(out), conv1d(conv) {
  weight = std::make_shared<Parameter>(path + ".weight", conv1d ? Shape{in, out} : Shape{out, in});
  if (with_bias) bias = std::make_shared<Parameter>(path + ".bias", Shape{out});
}

LinearMethod* LinearBelow::top() const {
  for (size_t i = depth_; i > 0; --i)
    if (linear_->methods[i - 1]->active) return linear_->methods[i - 1].get();
  return nullptr;
}

LinearBelow LinearBelow::next() const {
  size_t depth = depth_;
  while (depth > 0 && !linear_->methods[depth - 1]->active) --depth;
  return {*linear_, depth > 0 ? depth - 1 : 0};
}

Var LinearBelow::operator()(Context& context, const Var& x) const {
  if (LinearMethod* method = top()) return method->forward(context, next(), x);
  return fettle::linear(context, x, *linear_->weight, linear_->bias.get(), linear_->conv1d);
}

bool Linear::trainable() const {
  if (weight->trainable || (bias && bias->trainable)) return true;
  for (const auto& method : methods)
    for (const Parameter* parameter : method->parameters())
      if (parameter->trainable) return true;
  return false;
}

Embedding::Embedding(std::string p, int64_t rows, int64_t width)
    : path(std::move(p)), weight(std::make_shared<Parameter>(path + ".weight", Shape{rows, width})) {}

Var Embedding::forward(Context& context, std::shared_ptr<const std::vector<int32_t>> ids) {
  Var rows = embedding(context, ids, *weight);
  for (const auto& method : methods)
    if (method->active) rows = method->forward(context, rows, *ids);
  return rows;
}

RMSNorm::RMSNorm(std::string p, int64_t width, float e)
    : path(std::move(p)), eps(e), weight(std::make_shared<Parameter>(path + ".weight", Shape{width})) {}

}  // namespace fettle
