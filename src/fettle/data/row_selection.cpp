#include "fettle/data/row_selection.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <unordered_map>

#include "fettle/base/error.h"
#include "fettle/base/random.h"

namespace fettle {
namespace {

using Take = std::function<void(std::vector<Record>&&, int64_t)>;

int64_t count_rows(const DatasetEntry& entry, DamagedLine damaged) {
  int64_t count = 0;
  for_each_record(
      entry.path,
      [&](Record&&) {
        ++count;
        return true;
      },
      damaged, entry.split);
  if (count == 0) fail_input("{}: no records", entry.path.string());
  return count;
}

// Rows in file order.
void take_range(const DatasetEntry& entry, int64_t from, int64_t to, int64_t total, size_t batch,
                DamagedLine damaged, const Take& take) {
  std::vector<Record> records;
  int64_t row = 0;
  for_each_record(
      entry.path,
      [&](Record&& record) {
        if (row++ < from) return true;
        if (row > to) return false;
        records.push_back(std::move(record));
        if (records.size() == batch) take(std::exchange(records, {}), total);
        return row < to;
      },
      damaged, entry.split);
  if (row == 0) fail_input("{}: no records", entry.path.string());
  if (!records.empty()) take(std::move(records), total);
}

// Rows in any order, some perhaps several times.
void take_chosen(const DatasetEntry& entry, const std::vector<int64_t>& chosen, size_t batch,
                 DamagedLine damaged, const Take& take) {
  std::unordered_map<int64_t, std::vector<size_t>> places;
  for (size_t i = 0; i < chosen.size(); ++i) places[chosen[i]].push_back(i);
  std::vector<Record> records(chosen.size());
  int64_t row = 0;
  for_each_record(
      entry.path,
      [&](Record&& record) {
        if (auto found = places.find(row++); found != places.end())
          for (size_t place : found->second) records[place] = record;
        return true;
      },
      damaged, entry.split);
  for (size_t begin = 0; begin < records.size(); begin += batch) {
    size_t end = std::min(records.size(), begin + batch);
    take({std::make_move_iterator(records.begin() + static_cast<ptrdiff_t>(begin)),
          std::make_move_iterator(records.begin() + static_cast<ptrdiff_t>(end))},
         static_cast<int64_t>(chosen.size()));
  }
}

}  // namespace

void for_each_selected(const DatasetEntry& entry, std::optional<int64_t> max_samples, uint64_t seed,
                       size_t batch, const Take& take, DamagedLine damaged) {
  int64_t from = 0, to = INT64_MAX;
  bool counted = entry.num_samples || (entry.slice && entry.slice->needs_count());
  int64_t count = counted ? count_rows(entry, damaged) : INT64_MAX;
  if (entry.slice) {
    std::tie(from, to) = entry.slice->rows(count);
    if (from >= to) fail_usage("dataset {}: its slice selects no row", entry.name);
  } else if (counted) {
    to = count;
  }
  int64_t most = max_samples.value_or(INT64_MAX);
  if (!entry.num_samples) {
    if (to - from > most) to = from + most;
    take_range(entry, from, to, to == INT64_MAX ? 0 : to - from, batch, damaged, take);
    return;
  }
  std::vector<int64_t> chosen = random_permutation(to - from, {seed, RandomUse::kDataOrder, 1, 0});
  RandomStream more({seed, RandomUse::kDataOrder, 2, 0});
  size_t wanted = static_cast<size_t>(std::min(*entry.num_samples, most));
  if (chosen.size() > wanted) chosen.resize(wanted);
  while (chosen.size() < wanted)
    chosen.push_back(static_cast<int64_t>(more.below(static_cast<uint64_t>(to - from))));
  for (int64_t& row : chosen) row += from;
  take_chosen(entry, chosen, batch, damaged, take);
}

}  // namespace fettle
