#include "fettle/train/time_plan.h"

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <numeric>

#include "fettle/base/error.h"
#include "fettle/kernels/communicator.h"
#include "fettle/train/passes.h"

namespace fettle {
namespace fs = std::filesystem;
namespace {

constexpr double kBudget = 4.0;        ///< seconds that one measured pass may take
constexpr int64_t kShort = 64;         ///< tokens of the short pass
constexpr uint64_t kProbe = 64 << 20;  ///< bytes written to time the disk

template <typename Work>
double seconds_of(const Work& work) {
  const auto begin = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

int64_t tokens_of(const Examples& rows) {
  int64_t tokens = 0;
  for (size_t row = 0; row < rows.size(); ++row) tokens += rows.length(row);
  return tokens;
}

// Whole rows from the front while they stay below `tokens`; of a first row that is longer, its beginning.
Examples at_most(const Examples& rows, int64_t tokens) {
  std::vector<size_t> kept;
  int64_t sum = 0;
  for (size_t row = 0; row < rows.size() && sum + rows.length(row) <= tokens; ++row) {
    sum += rows.length(row);
    kept.push_back(row);
  }
  return kept.empty() ? cut_to(rows.select({0}), std::max<int64_t>(2, tokens)) : rows.select(kept);
}

class Workout {
 public:
  explicit Workout(const PlannedRun& run) : run_(run), arguments_(run.arguments) {
    arguments_.optimizer.paged_in.clear();
    optimizer_ = make_optimizer(cpu_backend(), run.trainables, arguments_.optimizer);
  }
  ~Workout() {
    for (Parameter* parameter : run_.trainables) parameter->gradient = Tensor();
    HostMemory::instance().trim();
  }

  // The second of two times: the first also compiles kernels and reads weights from the disk.
  double pass(const Examples& rows) {
    TrainArguments a = one_pass(arguments_, rows);
    Trainer trainer(*run_.model, cpu_backend(), single_process(), *optimizer_, rows, a, {});
    trainer.set_adapter(run_.adapter);
    const std::vector<int64_t> all = all_rows(rows);
    trainer.rehearse(all);
    return seconds_of([&] { trainer.rehearse(all); });
  }
  double update() {
    auto once = [&] {
      optimizer_->gradient_norm();
      optimizer_->step(0.0, 1.0);
    };
    once();
    return seconds_of(once);
  }

 private:
  const PlannedRun& run_;
  TrainArguments arguments_;
  std::unique_ptr<Optimizer> optimizer_;
};

double forward_seconds(const PlannedRun& run, const EvaluationSet& set, int64_t& tokens) {
  EvaluationOptions options;
  options.batch_size = run.evaluation_batch;
  options.loss = run.arguments.loss;
  std::vector<size_t> rows(std::min(set.examples.size(), static_cast<size_t>(run.evaluation_batch)));
  std::iota(rows.begin(), rows.end(), size_t{0});
  const Examples batch = set.examples.select(rows);
  tokens = tokens_of(batch);
  Evaluator evaluator(*run.model, cpu_backend(), run.arguments.compute, {{set.name, batch}}, options);
  evaluator.run(0, 0);
  return seconds_of([&] { evaluator.run(0, 0); });
}

// Seconds of writing and syncing a byte where `output` will be.
double seconds_of_a_byte(const fs::path& output, uint64_t most) {
  fs::path folder = fs::absolute(output);
  while (!fs::is_directory(folder) && folder.has_relative_path()) folder = folder.parent_path();
  std::string name = (folder / ".fettle-XXXXXX").string();
  const int file = ::mkstemp(name.data());
  if (file < 0) return 0;
  ::unlink(name.c_str());
  const std::vector<char> bytes(1 << 20, 'f');
  const uint64_t pieces = std::clamp<uint64_t>(most >> 20, 1, kProbe >> 20);
  bool written = true;
  const double seconds = seconds_of([&] {
    for (uint64_t i = 0; i < pieces && written; ++i)
      written = ::write(file, bytes.data(), bytes.size()) == static_cast<ssize_t>(bytes.size());
    ::fsync(file);
  });
  ::close(file);
  return written ? seconds / static_cast<double>(pieces << 20) : 0;
}

int64_t events(TrainArguments::When when, int64_t every, const TrainPlan& plan) {
  using When = TrainArguments::When;
  if (when == When::kEpoch) return plan.epochs;
  if (when == When::kSteps) return (plan.total_steps + every - 1) / every;  // the last step counts
  return 0;
}

}  // namespace

double pass_seconds(const std::map<int64_t, double>& measured, int64_t tokens) {
  FETTLE_CHECK(!measured.empty(), "no pass was measured");
  const double t = static_cast<double>(tokens);
  const auto [least, first] = *measured.begin();
  const auto [most, last] = *measured.rbegin();
  const auto upper = measured.upper_bound(tokens);
  if (upper != measured.begin() && upper != measured.end()) {
    const auto lower = std::prev(upper);
    const double share =
        (t - static_cast<double>(lower->first)) / static_cast<double>(upper->first - lower->first);
    return lower->second + share * (upper->second - lower->second);
  }
  // Beyond both ends by the slope of all, which the noise of two neighbours cannot turn around.
  if (last <= first) return last * t / static_cast<double>(most);
  const double slope = (last - first) / static_cast<double>(most - least);
  return std::max(0.0, tokens < least ? first - slope * (static_cast<double>(least) - t)
                                      : last + slope * (t - static_cast<double>(most)));
}

TimePlan plan_time(const PlannedRun& run, const Examples& training, const fs::path& output,
                   uint64_t checkpoint_bytes, uint64_t result_bytes) {
  TimePlan plan;
  const std::map<int64_t, int64_t> passes = passes_by_tokens(training, run.arguments);
  const TrainPlan steps = plan_training(run.arguments, static_cast<int64_t>(training.size()));
  const Examples largest = largest_pass(training, run.arguments);
  {
    Workout workout(run);
    // Of neighbours the difference would be noise.
    auto measure = [&](const Examples& rows) {
      const int64_t tokens = tokens_of(rows);
      if (plan.pass_seconds.empty() || tokens * 2 > plan.pass_seconds.rbegin()->first * 3)
        plan.pass_seconds[tokens] = workout.pass(rows);
    };
    measure(at_most(largest, kShort));
    // As many tokens as the budget allows, by what is known so far.
    auto within_budget = [&](int64_t tokens) {
      const auto& [most, seconds] = *plan.pass_seconds.rbegin();
      return std::min(tokens,
                      std::max(most, static_cast<int64_t>(static_cast<double>(most) * kBudget / seconds)));
    };
    int64_t half = 0, seen = 0, all = 0;
    for (const auto& [tokens, count] : passes) all += tokens * count;
    for (const auto& [tokens, count] : passes) {
      half = tokens;
      if ((seen += tokens * count) * 2 >= all) break;
    }
    plan.tokens = all;
    measure(at_most(largest, within_budget(half)));
    measure(at_most(largest, within_budget(tokens_of(largest))));
    plan.update_seconds = workout.update();
  }
  for (const auto& [tokens, count] : passes)
    plan.training += static_cast<double>(count) * pass_seconds(plan.pass_seconds, tokens);
  plan.training += static_cast<double>(steps.total_steps) * plan.update_seconds;

  const TrainArguments& a = run.arguments;
  plan.evaluations = events(a.eval_strategy, a.eval_steps, steps) + a.eval_on_start;
  if (plan.evaluations == 0 && a.do_eval) plan.evaluations = 1;
  if (plan.evaluations > 0)
    for (const EvaluationSet& set : run.evaluation) {
      if (set.examples.empty()) continue;
      int64_t tokens = 0;
      const double seconds = forward_seconds(run, set, tokens);
      plan.evaluation += static_cast<double>(plan.evaluations) * seconds *
                         static_cast<double>(tokens_of(set.examples)) /
                         static_cast<double>(std::max<int64_t>(1, tokens));
    }
  plan.saves = events(a.save_strategy, a.save_steps, steps);
  plan.saving = (static_cast<double>(plan.saves) * static_cast<double>(checkpoint_bytes) +
                 static_cast<double>(result_bytes)) *
                seconds_of_a_byte(output, std::max(checkpoint_bytes, result_bytes));
  return plan;
}

}  // namespace fettle
