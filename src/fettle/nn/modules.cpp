#include "fettle/nn/modules.h"

#include <algorithm>
#include <cstring>

#include "fettle/base/error.h"

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
  if (LinearMethod* method = top()) {
    LinearBelow below = next();
    if (method->weight == 1.0f || method->weighs_itself()) return method->forward(context, below, x);
    Var with = method->forward(context, below, x);
    return add(context, scale(context, below(context, x), 1.0f - method->weight),
               scale(context, with, method->weight));
  }
  return fettle::linear(context, x, *linear_->weight, linear_->bias.get(), linear_->conv1d);
}

Var Linear::forward(Context& context, const Var& x) {
  if (!context.routes.empty() && !methods.empty()) return routed(context, x);
  return LinearBelow(*this, methods.size())(context, x);
}

Var Linear::routed(Context& context, const Var& x) {
  FETTLE_CHECK(!context.tape && context.routes.back().end == x.value.rows(), "routes end at {} of {} rows",
               context.routes.back().end, x.value.rows());
  std::vector<bool> were_active;
  for (const auto& method : methods) were_active.push_back(method->active);
  Tensor out;
  int64_t begin = 0;
  for (const AdapterRoute& route : context.routes) {
    for (const auto& method : methods)
      method->active =
          std::find(route.owners.begin(), route.owners.end(), method->owner) != route.owners.end();
    Tensor part = LinearBelow(*this, methods.size())(context, Var(x.value.rows_view(begin, route.end))).value;
    if (!out.defined()) out = Tensor::empty({x.value.rows(), out_features}, part.dtype());
    std::memcpy(out.rows_view(begin, route.end).raw(), part.raw(), part.nbytes());
    begin = route.end;
  }
  for (size_t i = 0; i < methods.size(); ++i) methods[i]->active = were_active[i];
  return Var(out);
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

Norm::Norm(std::string p, int64_t width, float e, bool l, bool with_bias)
    : path(std::move(p)),
      eps(e),
      layer(l),
      weight(std::make_shared<Parameter>(path + ".weight", Shape{width})) {
  if (with_bias) bias = std::make_shared<Parameter>(path + ".bias", Shape{width});
}

Var Norm::forward(Context& context, const Var& x) {
  return layer ? layer_norm(context, x, *weight, bias.get(), eps) : rms_norm(context, x, *weight, eps);
}

std::pair<Var, Var> Norm::add_forward(Context& context, const Var& x, const Var& delta) {
  if (!layer) return add_rms_norm(context, x, delta, *weight, eps);
  Var sum = add(context, x, delta);
  return {sum, forward(context, sum)};
}

}  // namespace fettle
