#include "fettle/infer/score.h"

#include <cmath>
#include <limits>

namespace fettle {

double Score::perplexity() const {
  if (tokens == 0) return std::numeric_limits<double>::infinity();
  return std::exp(negative_log_likelihood / static_cast<double>(tokens));
}

void Score::add(const std::vector<float>& log_probabilities) {
  for (float value : log_probabilities) negative_log_likelihood -= value;
  tokens += static_cast<int64_t>(log_probabilities.size());
}

}  // namespace fettle
