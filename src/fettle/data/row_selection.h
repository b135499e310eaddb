// Which rows of a data set are used: slices, num_samples, max_samples.
#pragma once
#include <cstdint>
#include <functional>
#include <optional>
#include <vector>

#include "fettle/data/dataset_info.h"
#include "fettle/data/reader.h"

namespace fettle {

/// Calls take(batch of records) in order, each with at most `batch` records; `total` is 0 when unknown. Rows
/// are chosen by the entry's slice, then its num_samples (a random choice keyed by `seed`, with repetition
/// beyond the size of the set, as LLaMA-Factory), then the first `max_samples`. Error(kBadInput) when there
/// is no row, Error(kUsage) when a slice selects none.
void for_each_selected(const DatasetEntry& entry, std::optional<int64_t> max_samples, uint64_t seed,
                       size_t batch, const std::function<void(std::vector<Record>&&, int64_t total)>& take,
                       DamagedLine damaged = DamagedLine::kRefuse);

}  // namespace fettle
