#include "fettle/infer/sampling.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace fettle {
namespace {

void penalise_repetition(std::span<float> logits, std::span<const int32_t> history, double penalty) {
  std::vector<bool> seen(logits.size());
  for (int32_t id : history) {
    if (id < 0 || static_cast<size_t>(id) >= logits.size() || seen[static_cast<size_t>(id)]) continue;
    seen[static_cast<size_t>(id)] = true;
    float& score = logits[static_cast<size_t>(id)];
    score = static_cast<float>(score < 0 ? score * penalty : score / penalty);
  }
}

// The first of the highest scores.
int32_t most_likely(std::span<const float> logits) {
  const size_t n = logits.size();
  const float* scores = logits.data();
  float top = scores[0];
#pragma omp simd reduction(max : top)
  for (size_t i = 0; i < n; ++i) top = scores[i] > top ? scores[i] : top;
  const auto found = std::find(logits.begin(), logits.end(), top);
  return found == logits.end() ? 0 : static_cast<int32_t>(found - logits.begin());  // none equals NaN
}

}  // namespace

int32_t pick_token(std::span<float> logits, std::span<const int32_t> history, const SamplingOptions& options,
                   RandomStream& random) {
  if (options.repetition_penalty != 1.0) penalise_repetition(logits, history, options.repetition_penalty);
  if (!options.do_sample) return most_likely(logits);

  // Candidates from most to least likely; ties by id, so the choice is a function of the logits alone.
  size_t count = logits.size();
  if (options.top_k > 0) count = std::min(count, static_cast<size_t>(options.top_k));
  std::vector<int32_t> order(logits.size());
  std::iota(order.begin(), order.end(), 0);
  auto likelier = [&](int32_t a, int32_t b) {
    float x = logits[static_cast<size_t>(a)], y = logits[static_cast<size_t>(b)];
    return x != y ? x > y : a < b;
  };
  std::partial_sort(order.begin(), order.begin() + static_cast<ptrdiff_t>(count), order.end(), likelier);
  order.resize(count);
  std::vector<double> weights(count);
  double top = logits[static_cast<size_t>(order[0])], sum = 0;
  for (size_t i = 0; i < count; ++i) {
    weights[i] = std::exp((logits[static_cast<size_t>(order[i])] - top) / options.temperature);
    sum += weights[i];
  }
  // Top-p keeps the shortest head of the list whose mass reaches top_p.
  if (options.top_p < 1.0) {
    double mass = 0;
    size_t keep = 0;
    while (keep < count && (keep == 0 || mass < options.top_p * sum)) mass += weights[keep++];
    count = keep;
    sum = mass;
  }
  double target = static_cast<double>(random.next_u64() >> 11) * 0x1p-53 * sum;
  for (size_t i = 0; i < count; ++i) {
    target -= weights[i];
    if (target < 0) return order[i];
  }
  return order[count - 1];
}

}  // namespace fettle
