// What a data set looks like: lengths, labels, truncation, repetition.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "fettle/data/dataset.h"

namespace fettle {

struct LengthBin {
  int64_t from = 0, to = 0;  ///< tokens, `to` excluded
  int64_t examples = 0;
};

struct DatasetStats {
  int64_t rows_read = 0, dropped = 0, without_label = 0, truncated = 0;
  int64_t examples = 0;
  int64_t tokens = 0, label_tokens = 0;
  int64_t shortest = 0, median = 0, p95 = 0, longest = 0;
  int64_t duplicates = 0;  ///< examples whose ids and labels occurred before
  std::vector<LengthBin> lengths;
};

/// `bins` bins of equal, round width; empty ones at the end are left out.
DatasetStats dataset_stats(const Dataset& data, int bins = 16);

/// A table and a bar chart of the lengths, each line at most `columns` wide.
std::string stats_text(const DatasetStats& stats, int columns = 80);

/// How many examples of `validation` are also in `train`, token by token.
int64_t overlap(const Dataset& train, const Dataset& validation);

}  // namespace fettle
