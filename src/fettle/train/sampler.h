// The order of rows in an epoch, and how a step's rows are cut into passes.
#pragma once
#include <cstdint>
#include <span>
#include <vector>

#include "fettle/data/examples.h"

namespace fettle {

enum class RowOrder {
  kFile,      ///< as they stand
  kShuffled,  ///< at random, anew each epoch
  kByLength,  ///< transformers' group_by_length: at random, but neighbours of similar length
};

/// Row numbers. kByLength: LengthGroupedSampler of transformers (trainer_pt_utils.py): runs of up to 50
/// batches of `batch` rows, each sorted by falling length, the longest row of all in the first place.
std::vector<int64_t> epoch_order(const Examples& examples, RowOrder order, int64_t batch, uint64_t seed,
                                 uint64_t epoch);

/// Runs of `rows` in order: of at most `most_rows` rows and, beyond the first row, at most `most_tokens`
/// tokens (0: no bound).
std::vector<std::span<const int64_t>> cut_passes(const Examples& examples, std::span<const int64_t> rows,
                                                 int64_t most_rows, int64_t most_tokens);

}  // namespace fettle
