#include "fettle/train/sampler.h"

#include <algorithm>
#include <numeric>

#include "fettle/base/random.h"

namespace fettle {

std::vector<int64_t> epoch_order(const Examples& examples, RowOrder order, int64_t batch, uint64_t seed,
                                 uint64_t epoch) {
  const int64_t count = static_cast<int64_t>(examples.size());
  std::vector<int64_t> rows(examples.size());
  std::iota(rows.begin(), rows.end(), 0);
  if (order == RowOrder::kFile) return rows;
  rows = random_permutation(count, {seed, RandomUse::kDataOrder, 0, epoch});
  if (order == RowOrder::kShuffled) return rows;
  const int64_t run = std::clamp<int64_t>(count / (batch * 4), 1, 50) * batch;
  std::vector<int64_t> lengths(examples.size());
  for (size_t row = 0; row < lengths.size(); ++row) lengths[row] = examples.length(row);
  auto length = [&](int64_t row) { return lengths[static_cast<size_t>(row)]; };
  int64_t longest = 0;  // place of the longest row, which is the first of its run
  for (int64_t begin = 0; begin < count; begin += run) {
    auto first = rows.begin() + begin;
    std::stable_sort(first, rows.begin() + std::min(begin + run, count),
                     [&](int64_t a, int64_t b) { return length(a) > length(b); });
    if (length(*first) > length(rows[static_cast<size_t>(longest)])) longest = begin;
  }
  // Memory runs out at once or not at all.
  if (count > 0) std::swap(rows[0], rows[static_cast<size_t>(longest)]);
  return rows;
}

std::vector<std::span<const int64_t>> cut_passes(const Examples& examples, std::span<const int64_t> rows,
                                                 int64_t most_rows, int64_t most_tokens) {
  std::vector<std::span<const int64_t>> passes;
  for (size_t begin = 0; begin < rows.size();) {
    int64_t tokens = 0;
    size_t end = begin;
    while (end < rows.size() && static_cast<int64_t>(end - begin) < most_rows) {
      tokens += examples.length(static_cast<size_t>(rows[end]));
      if (end > begin && most_tokens > 0 && tokens > most_tokens) break;
      ++end;
    }
    passes.push_back(rows.subspan(begin, end - begin));
    begin = end;
  }
  return passes;
}

}  // namespace fettle
