#include "fettle/track/search_space.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <numbers>

#include "fettle/base/error.h"
#include "fettle/base/random.h"

namespace fettle {
namespace {

constexpr int64_t kMostPoints = 100000;
constexpr int64_t kRandomPoints = 10;  ///< before TPE has enough to go by
constexpr int kCandidates = 24;

double number(const std::string& text) {
  double value = 0;
  std::from_chars(text.data(), text.data() + text.size(), value);
  return value;
}

double uniform(RandomStream& stream) {
  return static_cast<double>(stream.next_u64() >> 11) * 0x1p-53;
}

// A mixture of normal distributions on [0, 1], one at each place and a wide one over all.
class Parzen {
 public:
  explicit Parzen(std::vector<double> places) : centres_(std::move(places)) {
    centres_.push_back(0.5);
    std::sort(centres_.begin(), centres_.end());
    const double narrowest = 1.0 / std::min(100.0, 1.0 + static_cast<double>(centres_.size()));
    bool wide_taken = false;
    for (size_t i = 0; i < centres_.size(); ++i) {
      // As wide as the farther neighbour is away.
      const double left = centres_[i] - (i > 0 ? centres_[i - 1] : 0.0);
      const double right = (i + 1 < centres_.size() ? centres_[i + 1] : 1.0) - centres_[i];
      double width = std::clamp(std::max(left, right), narrowest, 1.0);
      if (centres_[i] == 0.5 && !wide_taken) {
        width = 1.0;
        wide_taken = true;
      }
      widths_.push_back(width);
    }
  }
  double draw(RandomStream& stream) const {
    const size_t i = static_cast<size_t>(stream.below(centres_.size()));
    for (int attempt = 0; attempt < 100; ++attempt) {
      const double place = centres_[i] + widths_[i] * stream.normal();
      if (place >= 0 && place <= 1) return place;
    }
    return centres_[i];
  }
  double log_density(double place) const {
    double sum = 0;
    for (size_t i = 0; i < centres_.size(); ++i) {
      const double z = (place - centres_[i]) / widths_[i];
      // Cut at the ends of the range.
      auto below = [&](double x) {
        return 0.5 * std::erfc((centres_[i] - x) / (widths_[i] * std::numbers::sqrt2));
      };
      sum += std::exp(-0.5 * z * z) / (widths_[i] * std::max(1e-12, below(1) - below(0)));
    }
    return std::log(sum / static_cast<double>(centres_.size()));
  }

 private:
  std::vector<double> centres_, widths_;
};

// Shares of choices, each counted once beforehand.
std::vector<double> shares(const std::vector<std::string>& choices, const std::vector<std::string>& seen) {
  std::vector<double> share;
  for (const std::string& choice : choices)
    share.push_back((1.0 + static_cast<double>(std::count(seen.begin(), seen.end(), choice))) /
                    static_cast<double>(choices.size() + seen.size()));
  return share;
}

std::string tpe_value(const SearchParameter& parameter, const std::vector<std::string>& good,
                      const std::vector<std::string>& bad, RandomStream& stream) {
  if (!parameter.choices.empty()) {
    const std::vector<double> l = shares(parameter.choices, good), g = shares(parameter.choices, bad);
    size_t best = 0;
    double best_ratio = -1;
    for (int i = 0; i < kCandidates; ++i) {
      double at = uniform(stream);
      size_t choice = 0;
      while (choice + 1 < l.size() && at >= l[choice]) at -= l[choice++];
      if (l[choice] / g[choice] > best_ratio) {
        best_ratio = l[choice] / g[choice];
        best = choice;
      }
    }
    return parameter.choices[best];
  }
  auto places = [&](const std::vector<std::string>& values) {
    std::vector<double> all;
    for (const std::string& value : values) all.push_back(parameter.place(value));
    return all;
  };
  const Parzen l(places(good)), g(places(bad));
  double best = 0.5, best_ratio = -HUGE_VAL;
  for (int i = 0; i < kCandidates; ++i) {
    const double place = l.draw(stream), ratio = l.log_density(place) - g.log_density(place);
    if (ratio > best_ratio) {
      best_ratio = ratio;
      best = place;
    }
  }
  return parameter.at(best);
}

}  // namespace

std::string SearchParameter::at(double place) const {
  double value =
      log ? std::exp(std::log(min) + place * (std::log(max) - std::log(min))) : min + place * (max - min);
  if (step > 0) value = min + step * std::floor((value - min) / step + 0.5);
  if (integer) value = std::nearbyint(value);
  value = std::clamp(value, min, max);
  return integer ? fmt::format("{}", static_cast<int64_t>(value)) : fmt::format("{:.6g}", value);
}

double SearchParameter::place(const std::string& text) const {
  const double value = std::clamp(number(text), min, max);
  if (max <= min) return 0.5;
  return log ? (std::log(value) - std::log(min)) / (std::log(max) - std::log(min))
             : (value - min) / (max - min);
}

std::vector<std::string> SearchParameter::grid() const {
  if (!choices.empty()) return choices;
  const double by = step > 0 ? step : integer && max - min < 64 ? 1.0 : 0.0;
  if (by == 0) fail_usage("parameters: {}: a grid needs a list of values, or min and max with a step", name);
  if ((max - min) / by > kMostPoints) fail_usage("parameters: {}: more than {} values", name, kMostPoints);
  std::vector<std::string> values;
  for (int64_t i = 0; min + static_cast<double>(i) * by <= max * (1 + 1e-12); ++i) {
    const double value = min + static_cast<double>(i) * by;
    values.push_back(integer ? fmt::format("{}", static_cast<int64_t>(value)) : fmt::format("{:.6g}", value));
  }
  return values;
}

SearchSpace::SearchSpace(std::vector<SearchParameter> parameters, SearchMethod method, uint64_t seed)
    : parameters_(std::move(parameters)), method_(method), seed_(seed) {
  if (parameters_.empty()) fail_usage("parameters: nothing to search");
  size();
}

std::optional<int64_t> SearchSpace::size() const {
  if (method_ != SearchMethod::kGrid) return std::nullopt;
  int64_t points = 1;
  for (const SearchParameter& parameter : parameters_) {
    points *= static_cast<int64_t>(parameter.grid().size());
    if (points > kMostPoints) fail_usage("parameters: the grid has more than {} points", kMostPoints);
  }
  return points;
}

SearchPoint SearchSpace::suggest(int64_t index, const std::vector<SearchResult>& results) const {
  SearchPoint point;
  if (method_ == SearchMethod::kGrid) {
    // The last parameter changes fastest.
    point.resize(parameters_.size());
    for (size_t i = parameters_.size(); i-- > 0;) {
      const std::vector<std::string> values = parameters_[i].grid();
      point[i] = values[static_cast<size_t>(index) % values.size()];
      index /= static_cast<int64_t>(values.size());
    }
    return point;
  }
  RandomStream stream({seed_, RandomUse::kSynthetic, 0x73776565, static_cast<uint64_t>(index)});
  const bool informed =
      method_ == SearchMethod::kTpe && static_cast<int64_t>(results.size()) >= kRandomPoints;
  std::vector<SearchResult> sorted;
  size_t better = 0;
  if (informed) {
    sorted = results;
    std::stable_sort(sorted.begin(), sorted.end(),
                     [](const SearchResult& a, const SearchResult& b) { return a.value < b.value; });
    better = std::min<size_t>(25, (sorted.size() + 9) / 10);
  }
  for (size_t i = 0; i < parameters_.size(); ++i) {
    const SearchParameter& parameter = parameters_[i];
    if (informed) {
      std::vector<std::string> good, bad;
      for (size_t k = 0; k < sorted.size(); ++k) (k < better ? good : bad).push_back(sorted[k].point[i]);
      point.push_back(tpe_value(parameter, good, bad, stream));
    } else if (!parameter.choices.empty()) {
      point.push_back(parameter.choices[static_cast<size_t>(stream.below(parameter.choices.size()))]);
    } else {
      point.push_back(parameter.at(uniform(stream)));
    }
  }
  return point;
}

}  // namespace fettle
