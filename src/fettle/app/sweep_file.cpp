#include "fettle/app/sweep_file.h"

#include <charconv>
#include <cmath>

#include "fettle/base/config/config.h"
#include "fettle/base/config/options.h"
#include "fettle/base/config/values.h"
#include "fettle/base/error.h"
#include "fettle/base/file.h"
#include "fettle/base/json.h"

namespace fettle::app {
namespace fs = std::filesystem;
namespace {

using Kind = RawValue::Kind;

class Reader {
 public:
  explicit Reader(const fs::path& path) : path_(path) {
    file_.text = read_file(path, uint64_t{1} << 20);
    for (const RawEntry& entry : read_config_file(path)) take(entry);
    if (file_.parameters.empty()) fail_usage("{}: parameters is missing: what is to be tried", path.string());
    if (file_.output_dir.empty()) fail_usage("{}: output_dir is missing", path.string());
    if (file_.base.empty() && file_.options.empty())
      fail_usage("{}: base (a run.yaml) or options is missing: what is to be trained", path.string());
    if (file_.halving && file_.method == SearchMethod::kTpe)
      fail_usage("{}: method tpe learns from whole trials; halving goes with grid and random", path.string());
    SearchSpace(file_.parameters, file_.method,
                file_.seed);  // a grid that cannot be counted is refused at once
  }
  SweepFile result() && { return std::move(file_); }

 private:
  std::string where(const RawValue& value) const { return fmt::format("{}:{}", path_.string(), value.line); }

  std::string scalar(const std::string& key, const RawValue& value) const {
    if (value.kind != Kind::kPlain && value.kind != Kind::kQuoted)
      fail_usage("{}: {}: expected a single value", where(value), key);
    return value.text;
  }
  double number(const std::string& key, const RawValue& value, double low, double high) const {
    const std::string text = scalar(key, value);
    double result = 0;
    auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), result);
    if (error != std::errc() || end != text.data() + text.size() || !(result >= low && result <= high))
      fail_usage("{}: {}: found \"{}\", expected a number from {} to {}", where(value), key, printable(text),
                 low, high);
    return result;
  }
  int64_t whole(const std::string& key, const RawValue& value, double low, double high) const {
    const double result = number(key, value, low, high);
    if (result != std::floor(result)) fail_usage("{}: {}: expected a whole number", where(value), key);
    return static_cast<int64_t>(result);
  }

  void take(const RawEntry& entry) {
    static const std::vector<std::string> kKnown = {"base",     "options",   "method",    "parameters",
                                                    "metric",   "direction", "trials",    "seed",
                                                    "parallel", "halving",   "output_dir"};
    const RawValue& v = entry.value;
    const std::string& key = entry.key;
    if (key == "base") {
      fs::path base = scalar(key, v);
      file_.base = base.is_absolute() ? base : path_.parent_path() / base;
      if (!fs::exists(file_.base)) fail_usage("{}: base: {} does not exist", where(v), file_.base.string());
    } else if (key == "options") {
      for (const RawField& field : map(key, v)) {
        check_option(field.first, field.second);
        const OptionValue value =
            parse_option_value(*find_option(field.first), field.second, where(field.second));
        file_.options.emplace_back(field.first, yaml_text(*find_option(field.first), value));
      }
    } else if (key == "method") {
      const std::string name = scalar(key, v);
      if (name != "grid" && name != "random" && name != "tpe")
        fail_usage("{}: method: found \"{}\", expected grid, random or tpe", where(v), printable(name));
      file_.method = name == "grid"  ? SearchMethod::kGrid
                     : name == "tpe" ? SearchMethod::kTpe
                                     : SearchMethod::kRandom;
    } else if (key == "parameters") {
      for (const RawField& field : map(key, v))
        file_.parameters.push_back(parameter(field.first, field.second));
    } else if (key == "metric") {
      file_.metric = scalar(key, v);
    } else if (key == "direction") {
      const std::string name = scalar(key, v);
      if (name != "minimize" && name != "maximize")
        fail_usage("{}: direction: found \"{}\", expected minimize or maximize", where(v), printable(name));
      file_.maximize = name == "maximize";
    } else if (key == "trials") {
      file_.trials = whole(key, v, 1, 100000);
    } else if (key == "seed") {
      file_.seed = static_cast<uint64_t>(whole(key, v, 0, 9e15));
    } else if (key == "parallel") {
      file_.parallel = whole(key, v, 1, 256);
    } else if (key == "halving") {
      Halving halving;
      for (const RawField& field : map(key, v)) {
        if (field.first == "min_steps")
          halving.min_steps = whole("halving.min_steps", field.second, 1, 1e9);
        else if (field.first == "factor")
          halving.factor = whole("halving.factor", field.second, 2, 100);
        else
          fail_usage("{}: halving.{} is unknown; known: min_steps, factor", where(v), printable(field.first));
      }
      if (halving.min_steps == 0) fail_usage("{}: halving.min_steps is missing", where(v));
      file_.halving = halving;
    } else if (key == "output_dir") {
      file_.output_dir = scalar(key, v);
    } else {
      const std::string near = nearest(key, kKnown);
      fail_usage("{}:{}: the key {} is unknown{}; known: {}", path_.string(), entry.line, printable(key),
                 near.empty() ? "" : fmt::format(", did you mean {}?", near), fmt::join(kKnown, ", "));
    }
  }

  const std::vector<RawField>& map(const std::string& key, const RawValue& value) const {
    if (value.kind != Kind::kMap) fail_usage("{}: {}: expected a map", where(value), key);
    return value.fields;
  }

  void check_option(const std::string& name, const RawValue& value) const {
    const Option& option = option_or_fail(name, where(value));
    for (std::string_view own :
         {"output_dir", "resume_from_checkpoint", "overwrite_output_dir", "stop_at_step"})
      if (option.name == own) fail_usage("{}: {} is set by the sweep itself", where(value), own);
  }

  SearchParameter parameter(const std::string& name, const RawValue& value) const {
    check_option(name, value);
    const Option& option = *find_option(name);
    SearchParameter p;
    p.name = std::string(option.name);
    auto check = [&](const std::string& text) {
      RawValue one;
      one.kind = Kind::kPlain;
      one.text = text;
      parse_option_value(option, one, where(value));
    };
    if (value.kind == Kind::kList) {
      for (const RawValue& item : value.items) {
        p.choices.push_back(scalar(name, item));
        check(p.choices.back());
      }
      if (p.choices.empty()) fail_usage("{}: {}: the list is empty", where(value), name);
      return p;
    }
    for (const RawField& field : map(name, value)) {
      if (field.first == "min")
        p.min = number(name + ".min", field.second, -1e300, 1e300);
      else if (field.first == "max")
        p.max = number(name + ".max", field.second, -1e300, 1e300);
      else if (field.first == "step")
        p.step = number(name + ".step", field.second, 1e-300, 1e300);
      else if (field.first == "log")
        p.log = scalar(name, field.second) == "true";
      else
        fail_usage("{}: {}.{} is unknown; known: min, max, step, log", where(field.second), name,
                   printable(field.first));
    }
    p.integer = option.type == OptionType::kInt;
    if (!(p.min < p.max))
      fail_usage("{}: {}: expected a list of values, or min below max", where(value), name);
    if (p.log && p.min <= 0) fail_usage("{}: {}: log needs a min above 0", where(value), name);
    check(p.at(0));
    check(p.at(1));
    return p;
  }

  fs::path path_;
  SweepFile file_;
};

}  // namespace

SweepFile read_sweep_file(const fs::path& path) {
  return Reader(path).result();
}

}  // namespace fettle::app
