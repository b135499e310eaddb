// What a data set looks like before training: lengths, labels, truncation, repetition, damage, personal data.
#pragma once
#include <cstdint>
#include <map>
#include <string>
#include <unordered_set>
#include <vector>

#include "fettle/base/json.h"
#include "fettle/data/anonymize.h"
#include "fettle/data/dataset.h"

namespace fettle {

struct LengthBin {
  int64_t from = 0, to = 0;  ///< `to` excluded
  int64_t rows = 0;
};

/// Where something is, without what it is.
struct RowList {
  static constexpr size_t kMost = 20;
  int64_t rows = 0;
  std::vector<std::string> first;  ///< "file:line" of the first ones, at most kMost
  void add(const std::string& origin);
};

struct DatasetStats {
  bool in_tokens =
      true;  ///< lengths are tokens of whole rows, before cutoff_len; else characters of the texts
  int64_t cutoff_len = 0;  ///< 0: does not apply
  int64_t rows = 0, usable = 0, without_label = 0, truncated = 0;
  int64_t rounds = 0, most_rounds = 0;
  int64_t length = 0, kept = 0, trained = 0;  ///< sums over usable rows; kept: within cutoff_len
  int64_t shortest = 0, median = 0, p95 = 0, longest = 0;
  std::vector<LengthBin> lengths;                    ///< bins of equal, round width
  RowList unusable;                                  ///< damaged, without label or not of the form
  std::vector<DroppedRow> reasons;                   ///< why, for those of unusable.first
  RowList duplicates;                                ///< rows that say what an earlier row says
  RowList placeholders;                              ///< rows with {{name}} or {{author}}
  bool compared = false;                             ///< with another data set
  RowList overlap;                                   ///< rows that say what a row of the other set says
  std::array<RowList, kPersonalDataKinds> personal;  ///< rows that hold such data
  std::array<int64_t, kPersonalDataKinds> personal_found{};  ///< finds
};

/// Takes row after row; holds a hash a row and the distinct lengths.
class StatsCollector {
 public:
  /// `request` as given to inspect_dataset(); `other` outlives this one and is complete.
  explicit StatsCollector(const DatasetRequest& request, const StatsCollector* other = nullptr);
  /// `record` is searched for personal data and spoilt by it. Error(kUsage) when some rows are encoded and
  /// others are not.
  void add(Record&& record, const InspectedRow& row);
  /// With about `bins` bins.
  DatasetStats stats(int bins = 16) const;

 private:
  const StatsCollector* other_;
  DatasetStats stats_;
  std::map<int64_t, int64_t> rows_of_length_;
  std::unordered_set<uint64_t> contents_;
};

/// Tables and a bar chart of the lengths, each line at most `columns` wide.
std::string stats_text(const DatasetStats& stats, int columns = 80);
OrderedJson stats_json(const DatasetStats& stats);

}  // namespace fettle
