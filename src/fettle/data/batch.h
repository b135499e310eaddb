// What the trainer feeds to a model.
#pragma once
#include <cstdint>
#include <vector>

namespace fettle {

inline constexpr int32_t kIgnoreLabel = -100;

/// Tokens and labels of one row after templates and truncation. labels.size() == ids.size(); labels are NOT
/// shifted and kIgnoreLabel where nothing is learned.
struct Example {
  std::vector<int32_t> ids;
  std::vector<int32_t> labels;
  /// Lengths of the samples in this row, which do not see each other: packed ones, or the chosen and the
  /// rejected side of a preference pair. Empty: the row is one sample.
  std::vector<int32_t> lengths;
  int64_t labelled() const {
    int64_t n = 0;
    for (int32_t label : labels) n += label != kIgnoreLabel;
    return n;
  }
  /// The samples, one by one.
  std::vector<Example> samples() const {
    if (lengths.empty()) return {*this};
    std::vector<Example> parts;
    auto id = ids.begin(), label = labels.begin();
    for (int32_t length : lengths) {
      parts.push_back({{id, id + length}, {label, label + length}, {}});
      id += length;
      label += length;
    }
    return parts;
  }
};

}  // namespace fettle
