#include "fettle/train/passes.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "fettle/train/sampler.h"

namespace fettle {
namespace {

constexpr int64_t kMostRows = 4'000'000;

int64_t tokens_of(const Examples& examples, std::span<const int64_t> pass) {
  int64_t tokens = 0;
  for (int64_t row : pass) tokens += examples.length(static_cast<size_t>(row));
  return tokens;
}

int64_t rows_per_step(const TrainArguments& a) {
  return a.per_device_train_batch_size * a.gradient_accumulation_steps;
}

// Every pass in order, up to kMostRows rows; returns the share of the steps that were seen.
template <typename Visit>
double for_each_pass(const Examples& examples, const TrainArguments& a, const Visit& visit) {
  const TrainPlan plan = plan_training(a, static_cast<int64_t>(examples.size()));
  const int64_t per_step = rows_per_step(a);
  int64_t steps = 0;
  for (int64_t epoch = 0; epoch < plan.epochs; ++epoch) {
    const std::vector<int64_t> order =
        epoch_order(examples, a.order, per_step, a.data_seed, static_cast<uint64_t>(epoch));
    for (int64_t begin = 0; begin < plan.examples && steps < plan.total_steps; begin += per_step, ++steps) {
      if (steps * per_step >= kMostRows)
        return static_cast<double>(steps) / static_cast<double>(plan.total_steps);
      const std::span<const int64_t> rows(order.data() + begin,
                                          static_cast<size_t>(std::min(per_step, plan.examples - begin)));
      for (std::span<const int64_t> pass :
           cut_passes(examples, rows, a.per_device_train_batch_size, a.per_device_train_batch_tokens))
        visit(pass);
    }
  }
  return 1;
}

// The longest rows together.
Examples upper_bound(const Examples& examples, const TrainArguments& a) {
  std::vector<int64_t> rows = all_rows(examples);
  const size_t count = std::min(rows.size(), static_cast<size_t>(a.per_device_train_batch_size));
  std::partial_sort(
      rows.begin(), rows.begin() + static_cast<ptrdiff_t>(count), rows.end(), [&](int64_t x, int64_t y) {
        return examples.length(static_cast<size_t>(x)) > examples.length(static_cast<size_t>(y));
      });
  rows.resize(count);
  const std::span<const int64_t> first =
      cut_passes(examples, rows, a.per_device_train_batch_size, a.per_device_train_batch_tokens).front();
  return examples.select({first.begin(), first.end()});
}

}  // namespace

std::map<int64_t, int64_t> passes_by_tokens(const Examples& examples, const TrainArguments& arguments) {
  std::map<int64_t, int64_t> passes;
  const double seen = for_each_pass(
      examples, arguments, [&](std::span<const int64_t> pass) { ++passes[tokens_of(examples, pass)]; });
  if (seen < 1)
    for (auto& [tokens, count] : passes) count = std::llround(static_cast<double>(count) / seen);
  return passes;
}

Examples largest_pass(const Examples& examples, const TrainArguments& arguments) {
  std::vector<size_t> largest;
  int64_t most = -1;
  const double seen = for_each_pass(examples, arguments, [&](std::span<const int64_t> pass) {
    const int64_t tokens = tokens_of(examples, pass);
    if (tokens <= most) return;
    most = tokens;
    largest.assign(pass.begin(), pass.end());
  });
  return seen < 1 ? upper_bound(examples, arguments) : examples.select(largest);
}

Examples cut_to(const Examples& rows, int64_t length) {
  std::vector<Example> cut;
  for (Example example : rows) {
    if (static_cast<int64_t>(example.ids.size()) > length) {
      example.ids.resize(static_cast<size_t>(length));
      example.labels.resize(static_cast<size_t>(length));
      int64_t left = length;
      for (int32_t& sample : example.lengths) {
        sample = static_cast<int32_t>(std::min<int64_t>(sample, left));
        left -= sample;
      }
      std::erase(example.lengths, 0);
    }
    cut.push_back(std::move(example));
  }
  return cut;
}

std::vector<int64_t> all_rows(const Examples& examples) {
  std::vector<int64_t> rows(examples.size());
  std::iota(rows.begin(), rows.end(), 0);
  return rows;
}

TrainArguments one_pass(TrainArguments a, const Examples& rows) {
  a.per_device_train_batch_size = static_cast<int64_t>(rows.size());
  a.per_device_train_batch_tokens = 0;
  a.gradient_accumulation_steps = 1;
  a.dataloader_drop_last = false;
  a.max_steps = 1;
  a.lr_scheduler_type = "constant";
  a.lr_scheduler_kwargs = nullptr;
  a.warmup_steps = 0;
  a.warmup_ratio = 0;
  a.optimizer.paged_in.clear();
  return a;
}

}  // namespace fettle
