#include "fettle/train/optimizer_config.h"

#include <algorithm>
#include <charconv>
#include <map>
#include <set>

#include "fettle/base/error.h"
#include "fettle/peft/targets.h"

namespace fettle {
namespace {

// "momentum=0.9,nesterov=True", as Trainer reads it.
class OptimArgs {
 public:
  OptimArgs(const std::string& text, std::string optimizer) : optimizer_(std::move(optimizer)) {
    for (size_t begin = 0; begin < text.size();) {
      size_t end = std::min(text.find(',', begin), text.size());
      std::string item;
      for (char c : text.substr(begin, end - begin))
        if (c != ' ') item += c;
      begin = end + 1;
      size_t sign = item.find('=');
      if (sign == item.npos) fail_usage("optim_args: \"{}\" is not key=value", printable(item));
      values_[item.substr(0, sign)] = item.substr(sign + 1);
    }
  }
  void number(const char* key, double& out, double low, double high) {
    std::optional<std::string> text = take(key);
    if (!text) return;
    auto [end, error] = std::from_chars(text->data(), text->data() + text->size(), out);
    if (error != std::errc() || end != text->data() + text->size() || !(out >= low && out <= high))
      fail_usage("optim_args: {} is \"{}\", expected a number from {} to {}", key, printable(*text), low,
                 high);
  }
  void integer(const char* key, int64_t& out, int64_t low, int64_t high) {
    double value = static_cast<double>(out);
    number(key, value, static_cast<double>(low), static_cast<double>(high));
    out = static_cast<int64_t>(value);
  }
  void flag(const char* key, bool& out) {
    std::optional<std::string> text = take(key);
    if (text) out = *text == "True" || *text == "true" || *text == "1" || *text == "yes";
  }
  void choice(const char* key, std::string& out, const std::vector<std::string>& known) {
    std::optional<std::string> text = take(key);
    if (!text) return;
    if (std::find(known.begin(), known.end(), *text) == known.end())
      fail_usage("optim_args: {} is \"{}\", expected one of {}", key, printable(*text),
                 fmt::join(known, ", "));
    out = *text;
  }
  void finish() const {
    if (!values_.empty())
      fail_usage("optim_args: {} has no argument \"{}\"", optimizer_, printable(values_.begin()->first));
  }

 private:
  std::optional<std::string> take(const char* key) {
    auto found = values_.find(key);
    if (found == values_.end()) return std::nullopt;
    std::string value = found->second;
    values_.erase(found);
    return value;
  }
  std::string optimizer_;
  std::map<std::string, std::string> values_;
};

// Linears whose weights are projected, by Trainer's optim_target_modules or LLaMA-Factory's list of last
// names.
std::function<bool(const Parameter&)> projected_parameters(CausalLM& model,
                                                           const std::vector<std::string>& targets) {
  std::set<std::string> names;
  for (const Linear* linear : model.linears()) {
    if (linear == &model.head()) continue;
    for (const std::string& target : targets) {
      const bool all = target == "all" || target == "all-linear" || target == "all_linear";
      if (all || linear->path == target || linear->path.ends_with("." + target) ||
          regex_fullmatch(target, linear->path))
        names.insert(linear->path + ".weight");
    }
  }
  if (names.empty())
    fail_usage("optim_target_modules {}: the model has no such linears; it has {}", fmt::join(targets, ", "),
               fmt::join(all_linear_suffixes(model), ", "));
  return [names](const Parameter& parameter) { return names.contains(parameter.name); };
}

}  // namespace

OptimizerOptions optimizer_options(const Config& c, CausalLM& model, const std::filesystem::path& output,
                                   int64_t warmup_steps) {
  OptimizerOptions o{.name = c.get<std::string>("optim"),
                     .beta1 = c.get<double>("adam_beta1"),
                     .beta2 = c.get<double>("adam_beta2"),
                     .epsilon = c.get<double>("adam_epsilon"),
                     .weight_decay = c.get<double>("weight_decay")};
  o.seed = static_cast<uint64_t>(c.get<int64_t>("seed"));
  if (o.name.starts_with("paged_")) {
    o.name.erase(0, 6);
    o.paged_in = output;
  }
  if (o.name.ends_with("_32bit")) o.name.erase(o.name.size() - 6);
  std::vector<std::string> targets = c.get<std::vector<std::string>>("optim_target_modules");
  int wishes = 0;
  for (const char* key : {"use_galore", "use_apollo", "use_muon"}) wishes += c.get<bool>(key);
  if (wishes > 1 || (wishes == 1 && c.is_set("optim") && o.name != "adamw"))
    fail_usage("use_galore, use_apollo, use_muon and optim exclude each other");
  OptimArgs args(c.get<std::optional<std::string>>("optim_args").value_or(""), o.name);
  if (c.get<bool>("use_muon")) o.name = "muon";
  if (c.get<bool>("use_galore")) {
    o.name = "galore_adamw";
    targets = c.get<std::vector<std::string>>("galore_target");
    o.rank = c.get<int64_t>("galore_rank");
    o.update_proj_gap = c.get<int64_t>("galore_update_interval");
    o.scale = c.get<double>("galore_scale");
    o.proj_type = c.get<std::string>("galore_proj_type");
  } else if (c.get<bool>("use_apollo")) {
    o.name = "apollo_adamw";
    targets = c.get<std::vector<std::string>>("apollo_target");
    o.rank = c.get<int64_t>("apollo_rank");
    o.update_proj_gap = c.get<int64_t>("apollo_update_interval");
    o.scale = c.get<double>("apollo_scale");
    o.random_projection = c.get<std::string>("apollo_proj") == "random";
    o.scale_by_channel = c.get<std::string>("apollo_scale_type") == "channel";
    o.scale_front = c.get<bool>("apollo_scale_front");
  } else if (o.name == "sgd") {
    args.number("momentum", o.momentum, 0, 1);
    args.number("dampening", o.dampening, 0, 1);
    args.number("weight_decay", o.weight_decay, 0, 100);
    args.flag("nesterov", o.nesterov);
    if (o.nesterov && (o.momentum <= 0 || o.dampening != 0))
      fail_usage("optim_args: nesterov needs momentum above 0 and no dampening");
  } else if (o.name == "adagrad") {
    o.epsilon = 1e-10;
    args.number("lr_decay", o.lr_decay, 0, 100);
    args.number("weight_decay", o.weight_decay, 0, 100);
    args.number("eps", o.epsilon, 0, 1);
  } else if (o.name == "rmsprop") {
    o.epsilon = 1e-8;
    args.number("momentum", o.momentum, 0, 1);
    args.number("alpha", o.alpha, 0, 1);
    args.number("eps", o.epsilon, 0, 1);
    args.number("weight_decay", o.weight_decay, 0, 100);
    args.flag("centered", o.centered);
  } else if (o.name.starts_with("schedule_free")) {
    o.warmup_steps = warmup_steps;
    args.number("r", o.r, 0, 1000);
    args.number("weight_lr_power", o.weight_lr_power, 0, 1000);
    if (o.beta1 <= 0) fail_usage("adam_beta1 must be above 0 for schedule-free optimizers");
    if (c.get<std::string>("lr_scheduler_type") != "constant")
      fail_usage(
          "{}: the schedule is built in; set lr_scheduler_type: constant (warmup_steps count as usual)",
          o.name);
  } else if (o.name == "galore_adamw" || o.name == "apollo_adamw") {
    args.integer("rank", o.rank, 1, 65536);
    args.integer("update_proj_gap", o.update_proj_gap, 1, 1 << 30);
    if (o.name == "apollo_adamw") o.scale = 1;
    args.number("scale", o.scale, 0, 1e6);
    if (o.name == "apollo_adamw") {
      std::string projection = "random", scale_type = "channel";
      args.choice("proj", projection, {"random", "svd"});
      args.choice("scale_type", scale_type, {"channel", "tensor"});
      args.choice("proj_type", o.proj_type, {"std"});
      o.random_projection = projection == "random";
      o.scale_by_channel = scale_type == "channel";
    } else {
      args.choice("proj_type", o.proj_type, {"std", "reverse_std", "left", "right"});
    }
    if (targets.empty())
      fail_usage("{}: optim_target_modules must name the linears that are projected, or all-linear", o.name);
  }
  args.finish();
  if (o.name == "galore_adamw" || o.name == "apollo_adamw")
    o.projected = projected_parameters(model, targets);
  else if (!targets.empty())
    fail_usage("optim_target_modules: only galore_adamw and apollo_adamw have targets");
  return o;
}

}  // namespace fettle
