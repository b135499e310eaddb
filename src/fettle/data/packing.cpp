#include "fettle/data/packing.h"

#include <map>

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

std::vector<std::vector<int64_t>> best_fit_groups(std::span<const int64_t> lengths, int64_t capacity) {
  std::map<int64_t, std::vector<int64_t>> left;  // length -> examples of that length
  std::vector<std::vector<int64_t>> groups;
  for (size_t i = 0; i < lengths.size(); ++i) {
    if (lengths[i] > capacity)
      groups.push_back({static_cast<int64_t>(i)});
    else
      left[lengths[i]].push_back(static_cast<int64_t>(i));
  }
  while (!left.empty()) {
    std::vector<int64_t>& group = groups.emplace_back();
    int64_t room = capacity;
    for (auto next = left.upper_bound(room); next != left.begin(); next = left.upper_bound(room)) {
      --next;
      group.push_back(next->second.back());
      room -= next->first;
      next->second.pop_back();
      if (next->second.empty()) left.erase(next);
    }
  }
  return groups;
}

}  // namespace fettle
