// Scoring given texts: log-probabilities and perplexity.
#pragma once
#include <string>
#include <vector>

#include "fettle/infer/generator.h"

namespace fettle {

struct Score {
  int64_t tokens = 0;  ///< scored: all but the first of each row
  double negative_log_likelihood = 0;
  double perplexity() const;  ///< exp(nll / tokens); infinity without tokens
  void add(const std::vector<float>& log_probabilities);
};

}  // namespace fettle
