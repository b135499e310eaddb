// Loss heads that never hold all logits.
#include <algorithm>

#include "fettle/autograd/ops.h"
#include "fettle/base/error.h"

namespace fettle {

int64_t loss_chunk_rows(int64_t vocab_size, DType dtype) {
  constexpr int64_t kChunkBytes = int64_t{96} << 20;
  int64_t rows = kChunkBytes / (vocab_size * static_cast<int64_t>(dtype_size(dtype)));
  return std::clamp<int64_t>(rows / 32 * 32, 32, 512);
}

double linear_cross_entropy(Context& context, const Var& hidden,
                            const std::function<Var(Context&, const Var&)>& head, int64_t vocab_size,
                            const std::vector<int32_t>& labels, float grad_scale, bool head_trainable,
                            const LossShape& shape, RowOutcome* outcome) {
  Backend& backend = *context.backend;
  FETTLE_CHECK(static_cast<int64_t>(labels.size()) == hidden.value.rows(), "{} labels for {} rows",
               labels.size(), hidden.value.rows());
  std::vector<int32_t> rows, kept;
  for (size_t t = 0; t < labels.size(); ++t)
    if (labels[t] >= 0) {
      FETTLE_CHECK(labels[t] < vocab_size, "label {} with {} logits", labels[t], vocab_size);
      rows.push_back(static_cast<int32_t>(t));
      kept.push_back(labels[t]);
    }
  bool learns = context.records(hidden.requires_grad() || head_trainable);
  bool to_hidden = learns && hidden.requires_grad();
  int64_t width = hidden.value.cols(), count = static_cast<int64_t>(rows.size());
  Tensor dhidden;
  if (to_hidden) {
    dhidden = Tensor::empty(hidden.value.shape(), hidden.value.dtype());
    backend.fill(dhidden, 0.0);
  }
  double total = 0;
  // Chunks of equal size: each reads all of the head's weight, however few rows it has.
  const int64_t most = loss_chunk_rows(vocab_size, context.compute), chunks = (count + most - 1) / most;
  const int64_t step = chunks > 0 ? (count + chunks - 1) / chunks : 1;
  for (int64_t begin = 0; begin < count; begin += step) {
    int64_t n = std::min(step, count - begin);
    std::span<const int32_t> chunk(rows.data() + begin, static_cast<size_t>(n));
    Tensor gathered = Tensor::empty({n, width}, hidden.value.dtype());
    backend.gather_rows(hidden.value, chunk, gathered);
    Tape tape;
    Context inner = context;
    inner.tape = learns ? &tape : nullptr;
    Var leaf(gathered, to_hidden);
    Var logits = head(inner, leaf);
    Tensor losses = Tensor::empty({n}, context.compute == DType::kF64 ? DType::kF64 : DType::kF32);
    // The gradient takes the place of the logits.
    Tensor dlogits = logits.slot ? logits.value : Tensor();
    if (outcome) outcome->best.resize(static_cast<size_t>(begin + n));
    backend.cross_entropy(logits.value, std::span(kept.data() + begin, static_cast<size_t>(n)), grad_scale,
                          losses, dlogits, shape, outcome ? outcome->best.data() + begin : nullptr);
    for (int64_t i = 0; i < n; ++i) {
      double loss = losses.dtype() == DType::kF64 ? losses.data<double>()[i] : losses.data<float>()[i];
      total += loss;
      if (outcome) outcome->losses.push_back(static_cast<float>(loss));
    }
    if (!logits.slot) continue;
    logits.slot->accumulate(backend, dlogits);
    logits.value = Tensor();
    tape.backward();
    if (to_hidden) backend.scatter_rows(leaf.slot->take(gathered.shape()), chunk, dhidden);
  }
  if (to_hidden)
    context.tape->record([context, hidden, dhidden] { hidden.slot->accumulate(*context.backend, dhidden); });
  return total;
}

}  // namespace fettle
