// sweep.yaml: what a sweep tries and by what it judges.
#pragma once
#include <filesystem>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "fettle/track/search_space.h"

namespace fettle::app {

/// Successive halving (Jamieson & Talwalkar, arXiv 1502.07943): all trials run min_steps, the best 1/factor
/// of them factor times as many, and so on to the end.
struct Halving {
  int64_t min_steps = 0;
  int64_t factor = 3;
};

struct SweepFile {
  std::filesystem::path base;                                ///< run.yaml of every trial; may be empty
  std::vector<std::pair<std::string, std::string>> options;  ///< on top of it
  SearchMethod method = SearchMethod::kRandom;
  std::vector<SearchParameter> parameters;
  std::string metric =
      "eval_loss";  ///< of eval_results.json, or "loss": the last tenth of the training losses
  bool maximize = false;
  std::optional<int64_t> trials;  ///< unset: the whole grid, else 20
  int64_t parallel = 1;
  uint64_t seed = 42;
  std::optional<Halving> halving;
  std::filesystem::path output_dir;
  std::string text;  ///< the file as it stands
};

/// Error(kBadInput) for what is no YAML, Error(kUsage) naming line and key for the rest: unknown keys,
/// options that do not exist, values that an option does not take.
SweepFile read_sweep_file(const std::filesystem::path& path);

}  // namespace fettle::app
