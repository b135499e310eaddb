// From logits to the next token, with the processors of transformers' generate().
#pragma once
#include <cstdint>
#include <span>
#include <vector>

#include "fettle/base/random.h"

namespace fettle {

struct SamplingOptions {
  bool do_sample = false;    ///< false: greedy
  double temperature = 1.0;  ///< > 0
  int64_t top_k = 50;        ///< 0: off
  double top_p = 1.0;        ///< 1: off
  double repetition_penalty =
      1.0;  ///< Keskar et al., arXiv 1909.05858; over prompt and answer, as transformers does
  uint64_t seed = 42;
};

/// Picks a token. `logits` [vocab] is overwritten. `history`: every id so far, the prompt included. Order of
/// the processors: repetition penalty, temperature, top-k, top-p. Ties of greedy decoding go to the lowest
/// id, as argmax.
int32_t pick_token(std::span<float> logits, std::span<const int32_t> history, const SamplingOptions& options,
                   RandomStream& random);

}  // namespace fettle
