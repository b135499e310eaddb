// Examples of a micro-batch laid in one row without padding.
#pragma once
#include <cstdint>
#include <span>
#include <vector>

#include "fettle/data/examples.h"

namespace fettle {

/// Tokens of several sequences, one after another. No token sees another sequence, so a padded batch of the
/// same rows has the same loss.
struct PackedBatch {
  std::vector<int32_t> ids;  ///< [T]
  std::vector<int32_t>
      labels;  ///< [T], shifted: the label of position t is token t+1 of its sequence; the last has none
  std::vector<int32_t> positions;   ///< [T], from 0 in each sequence
  std::vector<int32_t> cu_seqlens;  ///< [S+1]
  /// [S], the label of each sequence's first token, which only a prompt of virtual tokens can predict.
  std::vector<int32_t> first_labels;
  /// Positions with a label: what the loss is averaged over.
  int64_t label_tokens() const;
};

PackedBatch pack_examples(const Examples& examples, std::span<const int64_t> rows);

/// Groups of examples of at most `capacity` tokens each: the longest that still fits is taken until none
/// does, as LLaMA-Factory's greedy_knapsack. Of equal lengths the later one goes first. What is longer than
/// `capacity` stands alone.
std::vector<std::vector<int64_t>> best_fit_groups(std::span<const int64_t> lengths, int64_t capacity);

/// The rows that best_fit_groups() makes.
Examples pack_best_fit(const Examples& examples, int64_t capacity);

}  // namespace fettle
