#include "fettle/data/packing.h"

namespace fettle {

int64_t PackedBatch::label_tokens() const {
  int64_t count = 0;
  for (int32_t label : labels) count += label >= 0;
  return count;
}

PackedBatch pack_examples(std::span<const Example> examples, std::span<const int64_t> rows) {
  PackedBatch batch;
  batch.cu_seqlens.push_back(0);
  for (int64_t row : rows) {
    const Example& example = examples[static_cast<size_t>(row)];
    size_t n = example.ids.size();
    batch.ids.insert(batch.ids.end(), example.ids.begin(), example.ids.end());
    for (size_t t = 0; t < n; ++t) {
      batch.labels.push_back(t + 1 < n ? example.labels[t + 1] : kIgnoreLabel);
      batch.positions.push_back(static_cast<int32_t>(t));
    }
    batch.cu_seqlens.push_back(static_cast<int32_t>(batch.ids.size()));
  }
  return batch;
}

}  // namespace fettle
