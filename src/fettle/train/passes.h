// The passes (forward and backward on a few rows) that a run will take, known before it starts.
#pragma once
#include <cstdint>
#include <map>
#include <vector>

#include "fettle/data/examples.h"
#include "fettle/train/trainer.h"

namespace fettle {

/// How many passes of how many tokens: of the run's own epochs in their own order. With more than four
/// million rows in all epochs, only so many are looked at, and the counts are scaled up.
std::map<int64_t, int64_t> passes_by_tokens(const Examples& examples, const TrainArguments& arguments);

/// The pass of most tokens, as rows of their own. With so many rows: the longest rows, which no pass exceeds.
Examples largest_pass(const Examples& examples, const TrainArguments& arguments);

/// `rows` with at most `length` tokens each.
Examples cut_to(const Examples& rows, int64_t length);

/// 0, 1, … for all rows.
std::vector<int64_t> all_rows(const Examples& rows);

/// The arguments of one step that is one pass over all `rows`.
TrainArguments one_pass(TrainArguments arguments, const Examples& rows);

}  // namespace fettle
