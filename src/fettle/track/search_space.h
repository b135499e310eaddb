// What a sweep searches, and which point of it comes next.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace fettle {

/// One option: the values of a list, or a range of numbers.
struct SearchParameter {
  std::string name;
  std::vector<std::string> choices;  ///< as text; empty: a range
  double min = 0, max = 0;
  bool log = false;      ///< spread evenly over the logarithm
  bool integer = false;  ///< whole numbers
  double step = 0;       ///< from min in steps; 0: any number

  /// The text of the value at a place from 0 to 1 of a range.
  std::string at(double place) const;
  /// The place of a number, as far as it lies inside.
  double place(const std::string& value) const;
  /// All values, where they can be counted (choices, or a range with a step or of at most 64 whole numbers).
  std::vector<std::string> grid() const;
};

/// A value for each parameter, in their order.
using SearchPoint = std::vector<std::string>;

struct SearchResult {
  SearchPoint point;
  double value = 0;  ///< lower is better
};

enum class SearchMethod { kGrid, kRandom, kTpe };

class SearchSpace {
 public:
  SearchSpace(std::vector<SearchParameter> parameters, SearchMethod method, uint64_t seed);
  /// Points of a grid; no value for the other methods, which never end. Error(kUsage) for a grid over what
  /// cannot be counted, or of more than 100,000 points.
  std::optional<int64_t> size() const;
  /// Point `index`, a function of seed, index and, for TPE, of the results so far.
  ///   random  uniform, or uniform over the logarithm
  ///   tpe     tree-structured Parzen estimators (Bergstra et al., NeurIPS 2011): of 24 draws from the
  ///   density of the
  ///           better results the one whose ratio to that of the others is highest, each parameter by itself;
  ///           the first ten points are random
  SearchPoint suggest(int64_t index, const std::vector<SearchResult>& results) const;
  const std::vector<SearchParameter>& parameters() const { return parameters_; }

 private:
  std::vector<SearchParameter> parameters_;
  SearchMethod method_;
  uint64_t seed_;
};

}  // namespace fettle
