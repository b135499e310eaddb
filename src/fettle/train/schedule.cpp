#include "fettle/train/schedule.h"

#include <cmath>
#include <nlohmann/json.hpp>
#include <numbers>
#include <set>

#include "fettle/base/error.h"

namespace fettle {
namespace {

using std::numbers::pi;

// Reads lr_scheduler_kwargs and refuses keys that the schedule does not know.
class Options {
 public:
  Options(const ScheduleSpec& spec, std::set<std::string> known)
      : spec_(spec), json_(spec.options ? *spec.options : Json::object()) {
    if (json_.is_null()) json_ = Json::object();
    if (!json_.is_object()) fail_usage("lr_scheduler_kwargs must be a mapping");
    for (const auto& [key, value] : json_.items())
      if (!known.contains(key))
        fail_usage(
            "lr_scheduler_kwargs: {} does not know \"{}\"{}", spec.type, printable(key),
            known.empty() ? "; it has no options" : fmt::format("; it knows {}", fmt::join(known, ", ")));
  }
  bool has(const char* key) const { return json_.contains(key) && !json_[key].is_null(); }
  double number(const char* key, double fallback) const {
    if (!has(key)) return fallback;
    if (!json_[key].is_number()) fail_usage("lr_scheduler_kwargs: {} must be a number", key);
    return json_[key].get<double>();
  }
  double required(const char* key) const {
    if (!has(key)) fail_usage("lr_scheduler_type {} needs lr_scheduler_kwargs: {{{}: …}}", spec_.type, key);
    return number(key, 0);
  }
  std::string choice(const char* key, const std::string& fallback, std::set<std::string> values) const {
    if (!has(key)) return fallback;
    if (!json_[key].is_string() || !values.contains(json_[key].get<std::string>()))
      fail_usage("lr_scheduler_kwargs: {} must be one of {}", key, fmt::join(values, ", "));
    return json_[key].get<std::string>();
  }

 private:
  const ScheduleSpec& spec_;
  Json json_;
};

// λ during warm-up, `after` from step W on.
Schedule with_warmup(int64_t warmup, std::function<double(double)> after) {
  return [=](int64_t step) {
    if (step < warmup) return static_cast<double>(step) / static_cast<double>(std::max<int64_t>(1, warmup));
    return after(static_cast<double>(step));
  };
}

// min_lr or min_lr_rate, as a share of the learning rate.
double minimum_rate(const Options& options, const ScheduleSpec& spec) {
  if (options.has("min_lr") == options.has("min_lr_rate"))
    fail_usage("lr_scheduler_type {} needs one of lr_scheduler_kwargs min_lr and min_lr_rate", spec.type);
  return options.has("min_lr") ? options.required("min_lr") / spec.learning_rate
                               : options.required("min_lr_rate");
}

double shape(const std::string& type, double progress, bool rising) {
  double falling = rising ? 1.0 - progress : progress;
  if (type == "linear") return 1.0 - falling;
  if (type == "cosine") return 0.5 * (1.0 + std::cos(pi * falling));
  return 1.0 - std::sqrt(falling);
}

Schedule warmup_stable_decay(const ScheduleSpec& spec) {
  Options o(spec, {"num_decay_steps", "num_stable_steps", "warmup_type", "decay_type", "min_lr_ratio",
                   "num_cycles"});
  std::set<std::string> types = {"linear", "cosine", "1-sqrt"};
  std::string warm = o.choice("warmup_type", "linear", types),
              decay_type = o.choice("decay_type", "cosine", types);
  double low = o.number("min_lr_ratio", 0), cycles = o.number("num_cycles", 0.5);
  int64_t warmup = spec.warmup_steps;
  // LLaMA-Factory's defaults when neither is given: a third stable, the rest decay.
  int64_t rest = spec.total_steps - warmup;
  int64_t stable = static_cast<int64_t>(
      o.number("num_stable_steps", o.has("num_decay_steps")
                                       ? static_cast<double>(rest) - o.number("num_decay_steps", 0)
                                       : static_cast<double>(rest / 3)));
  int64_t decay = static_cast<int64_t>(o.number("num_decay_steps", static_cast<double>(rest - stable)));
  return [=](int64_t step) {
    if (step < warmup) {
      double p = static_cast<double>(step) / static_cast<double>(std::max<int64_t>(1, warmup));
      return std::max(0.0, shape(warm, p, true) * (1.0 - low) + low);
    }
    if (step < warmup + stable) return 1.0;
    if (step < warmup + stable + decay) {
      double p =
          static_cast<double>(step - warmup - stable) / static_cast<double>(std::max<int64_t>(1, decay));
      double f = decay_type == "cosine" ? 0.5 * (1.0 + std::cos(pi * cycles * 2.0 * p))
                                        : shape(decay_type, p, false);
      return std::max(0.0, f * (1.0 - low) + low);
    }
    return low;
  };
}

Schedule cosine_warmup_with_min_lr(const ScheduleSpec& spec) {
  Options o(spec, {"num_cycles", "min_lr", "min_lr_rate", "warmup_lr_rate"});
  double low = minimum_rate(o, spec), cycles = o.number("num_cycles", 0.5);
  bool has_start = o.has("warmup_lr_rate");
  double start = o.number("warmup_lr_rate", 0), warmup = static_cast<double>(spec.warmup_steps),
         total = static_cast<double>(spec.total_steps);
  return [=](int64_t at) {
    double step = static_cast<double>(at);
    if (step < warmup) {
      if (!has_start) return (step + 1.0) / std::max(1.0, warmup);
      return start + (1.0 - start) * step / std::max(1.0, warmup - 1.0);
    }
    double p = (step - warmup + 1.0) / std::max(1.0, total - warmup);
    double factor = 0.5 * (1.0 + std::cos(pi * cycles * 2.0 * p));
    return std::max(0.0, factor * (1.0 - low) + low);
  };
}

}  // namespace

int64_t warmup_steps(int64_t steps, double ratio, int64_t total) {
  return steps > 0 ? steps : static_cast<int64_t>(std::ceil(static_cast<double>(total) * ratio));
}

std::vector<std::string> schedule_names() {
  return {"linear",
          "cosine",
          "cosine_with_restarts",
          "polynomial",
          "constant",
          "constant_with_warmup",
          "inverse_sqrt",
          "cosine_with_min_lr",
          "cosine_warmup_with_min_lr",
          "warmup_stable_decay",
          "exponential"};
}

Schedule make_schedule(const ScheduleSpec& spec) {
  double total = static_cast<double>(spec.total_steps), warmup = static_cast<double>(spec.warmup_steps);
  double span = std::max(1.0, total - warmup);
  if (spec.type == "linear") {
    Options none(spec, {});
    return with_warmup(spec.warmup_steps, [=](double s) { return std::max(0.0, (total - s) / span); });
  }
  if (spec.type == "cosine") {
    double cycles = Options(spec, {"num_cycles"}).number("num_cycles", 0.5);
    return with_warmup(spec.warmup_steps, [=](double s) {
      return std::max(0.0, 0.5 * (1.0 + std::cos(pi * cycles * 2.0 * (s - warmup) / span)));
    });
  }
  if (spec.type == "cosine_with_restarts") {
    double cycles = Options(spec, {"num_cycles"}).number("num_cycles", 1);
    return with_warmup(spec.warmup_steps, [=](double s) {
      double p = (s - warmup) / span;
      return p >= 1.0 ? 0.0 : std::max(0.0, 0.5 * (1.0 + std::cos(pi * std::fmod(cycles * p, 1.0))));
    });
  }
  if (spec.type == "polynomial") {
    Options o(spec, {"lr_end", "power"});
    double end = o.number("lr_end", 1e-7), power = o.number("power", 1), lr = spec.learning_rate;
    if (end >= lr)
      fail_usage("lr_scheduler_type polynomial: lr_end {} must be below learning_rate {}", end, lr);
    return with_warmup(spec.warmup_steps, [=](double s) {
      if (s > total) return end / lr;
      return ((lr - end) * std::pow(1.0 - (s - warmup) / (total - warmup), power) + end) / lr;
    });
  }
  if (spec.type == "constant") {
    Options none(spec, {});
    return [](int64_t) { return 1.0; };
  }
  if (spec.type == "constant_with_warmup") {
    Options none(spec, {});
    return with_warmup(spec.warmup_steps, [](double) { return 1.0; });
  }
  if (spec.type == "inverse_sqrt") {
    double timescale = Options(spec, {"timescale"}).number("timescale", warmup > 0 ? warmup : 10000);
    return with_warmup(spec.warmup_steps,
                       [=](double s) { return 1.0 / std::sqrt((s + timescale - warmup) / timescale); });
  }
  if (spec.type == "cosine_with_min_lr") {
    Options o(spec, {"num_cycles", "min_lr", "min_lr_rate"});
    double low = minimum_rate(o, spec), cycles = o.number("num_cycles", 0.5);
    return with_warmup(spec.warmup_steps, [=](double s) {
      double factor = 0.5 * (1.0 + std::cos(pi * cycles * 2.0 * (s - warmup) / span));
      return std::max(0.0, factor * (1.0 - low) + low);
    });
  }
  if (spec.type == "cosine_warmup_with_min_lr") return cosine_warmup_with_min_lr(spec);
  if (spec.type == "warmup_stable_decay") return warmup_stable_decay(spec);
  if (spec.type == "exponential") {
    // Not in Transformers: the rate falls by the same share each step, to `final_ratio` of itself at the end.
    double ratio = Options(spec, {"final_ratio"}).number("final_ratio", 0.01);
    if (ratio <= 0 || ratio >= 1) fail_usage("lr_scheduler_kwargs: final_ratio must lie between 0 and 1");
    return with_warmup(spec.warmup_steps, [=](double s) { return std::pow(ratio, (s - warmup) / span); });
  }
  std::vector<std::string> names = schedule_names();
  std::string near = nearest(spec.type, names);
  fail_usage("lr_scheduler_type \"{}\" is unknown{}; known: {}", printable(spec.type),
             near.empty() ? "" : " (did you mean \"" + near + "\"?)", fmt::join(names, ", "));
}

PlateauRule make_plateau_rule(const Json* options) {
  PlateauRule rule;
  if (!options) return rule;
  auto bad = [](const std::string& key, const char* expected) {
    fail_usage("lr_scheduler_kwargs: {} of reduce_lr_on_plateau: expected {}", key, expected);
  };
  for (const auto& [key, value] : options->items()) {
    if (key == "mode" || key == "threshold_mode") {
      const bool of_mode = key == "mode";
      if (!value.is_string() || (value != (of_mode ? "min" : "rel") && value != (of_mode ? "max" : "abs")))
        bad(key, of_mode ? "min or max" : "rel or abs");
      (of_mode ? rule.greater : rule.relative) = value == (of_mode ? "max" : "rel");
    } else if (key == "patience" || key == "cooldown") {
      if (!value.is_number_integer() || value.get<double>() < 0 || value.get<double>() > 1e9)
        bad(key, "a number of evaluations");
      (key == "patience" ? rule.patience : rule.cooldown) = value.get<int64_t>();
    } else if (key == "factor" || key == "threshold" || key == "min_lr" || key == "eps") {
      if (!value.is_number() || value.get<double>() < 0 || (key == "factor" && value.get<double>() >= 1))
        bad(key, key == "factor" ? "a number from 0 to below 1" : "a number from 0 on");
      (key == "factor"      ? rule.factor
       : key == "threshold" ? rule.threshold
       : key == "min_lr"    ? rule.min_lr
                            : rule.eps) = value.get<double>();
    } else {
      fail_usage(
          "lr_scheduler_kwargs: {} is unknown for reduce_lr_on_plateau; known: mode, factor, patience, "
          "threshold, "
          "threshold_mode, cooldown, min_lr, eps",
          printable(key));
    }
  }
  return rule;
}

void PlateauRule::see(double metric, PlateauState& s) const {
  const double sign = greater ? 1.0 : -1.0;
  const double bar = relative ? s.best * (1.0 + sign * threshold) : s.best + sign * threshold;
  const bool better = !s.seen || (greater ? metric > bar : metric < bar);
  s.bad = better ? 0 : s.bad + 1;
  if (better) {
    s.best = metric;
    s.seen = true;
  }
  if (s.cooldown > 0) {
    --s.cooldown;
    s.bad = 0;
  }
  if (s.bad <= patience) return;
  const double lower = std::max(s.rate * factor, min_lr);
  if (s.rate - lower > eps) s.rate = lower;
  s.cooldown = cooldown;
  s.bad = 0;
}

}  // namespace fettle
