#include "fettle/data/packing.h"

#include <map>

namespace fettle {

int64_t PackedBatch::label_tokens() const {
  int64_t count = 0;
  for (int32_t label : labels) count += label >= 0;
  return count;
}

PackedBatch pack_examples(const Examples& examples, std::span<const int64_t> rows) {
  PackedBatch batch;
  batch.cu_seqlens.push_back(0);
  for (int64_t row : rows) {
    const Example example = examples[static_cast<size_t>(row)];
    batch.ids.insert(batch.ids.end(), example.ids.begin(), example.ids.end());
    const std::vector<int32_t> whole = {static_cast<int32_t>(example.ids.size())};
    size_t begin = 0;
    for (int32_t length : example.lengths.empty() ? whole : example.lengths) {
      size_t n = static_cast<size_t>(length);
      for (size_t t = 0; t < n; ++t) {
        batch.labels.push_back(t + 1 < n ? example.labels[begin + t + 1] : kIgnoreLabel);
        batch.positions.push_back(static_cast<int32_t>(t));
      }
      batch.first_labels.push_back(n > 0 ? example.labels[begin] : kIgnoreLabel);
      begin += n;
      batch.cu_seqlens.push_back(batch.cu_seqlens.back() + length);
    }
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

Examples pack_best_fit(const Examples& examples, int64_t capacity) {
  std::vector<int64_t> lengths;
  for (size_t row = 0; row < examples.size(); ++row) lengths.push_back(examples.length(row));
  return examples.grouped(best_fit_groups(lengths, capacity));
}

}  // namespace fettle
