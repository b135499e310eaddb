#include "fettle/base/config/options.h"

#include <fmt/format.h>

#include <algorithm>
#include <unordered_map>

#include "fettle/base/config/schema.h"
#include "fettle/base/error.h"

namespace fettle {
namespace {

struct Schema {
  std::vector<Option> options;
  std::unordered_map<std::string_view, const Option*> by_name;  // aliases included

  Schema() {
    using G = OptionGroup;
    add(G::kModel, schema::model_options());
    add(G::kData, schema::data_options());
    add(G::kMethod, schema::method_options());
    add(G::kMethod, schema::lora_options());
    add(G::kMethod, schema::adapter_options());
    add(G::kTraining, schema::training_options());
    add(G::kOptimizer, schema::optimizer_options());
    add(G::kPrecision, schema::precision_options());
    add(G::kLogging, schema::logging_options());
    add(G::kSaving, schema::saving_options());
    add(G::kEvaluation, schema::evaluation_options());
    add(G::kGeneration, schema::generation_options());
    add(G::kExport, schema::export_options());
    add(G::kSystem, schema::system_options());
    add(G::kQuantization, schema::quantization_options());
    add(G::kPreference, schema::preference_options());
    add(G::kMultimodal, schema::multimodal_options());
    add(G::kTracking, schema::tracking_options());
    add(G::kDistributed, schema::distributed_options());
    add(G::kOtherEngines, schema::other_engine_options());
    for (const Option& option : options) {
      index(option.name, option);
      for (std::string_view alias : option.aliases) index(alias, option);
    }
  }

  void add(OptionGroup group, schema::Options&& part) {
    for (Option& option : part) {
      option.group = group;
      options.push_back(std::move(option));
    }
  }
  void index(std::string_view name, const Option& option) {
    FETTLE_CHECK(by_name.emplace(name, &option).second, "option name {} declared twice", name);
  }
};

const Schema& the_schema() {
  static const Schema schema;
  return schema;
}

std::string with_underscores(std::string_view name) {
  std::string out(name);
  for (char& c : out)
    if (c == '-') c = '_';
  return out;
}

std::string number_text(double value) {
  // Bounds are whole numbers or short decimals; %g would write 1e+06.
  if (value == static_cast<double>(static_cast<int64_t>(value)))
    return std::to_string(static_cast<int64_t>(value));
  return fmt::format("{}", value);
}

std::string range_text(const Option& option) {
  const bool low = option.min > -std::numeric_limits<double>::infinity();
  const bool high = option.max < std::numeric_limits<double>::infinity();
  std::string text;
  if (low) text += (option.above_min ? " above " : " from ") + number_text(option.min);
  if (high)
    text += (option.below_max           ? " below "
             : low && !option.above_min ? " to "
                                        : " up to ") +
            number_text(option.max);
  return text;
}

}  // namespace

std::span<const Option> all_options() {
  return the_schema().options;
}

const Option* find_option(std::string_view name_or_alias) {
  const auto& names = the_schema().by_name;
  auto found = names.find(name_or_alias);
  if (found == names.end()) found = names.find(with_underscores(name_or_alias));
  return found == names.end() ? nullptr : found->second;
}

const Option& option_or_fail(std::string_view name_or_alias, std::string_view where) {
  if (const Option* option = find_option(name_or_alias)) return *option;
  std::vector<std::string> names;
  for (const auto& [name, option] : the_schema().by_name) names.emplace_back(name);
  std::sort(names.begin(), names.end());
  // Everything is near to a word of one or two letters.
  const std::string near = name_or_alias.size() < 3 ? "" : nearest(with_underscores(name_or_alias), names);
  fail_usage("{}{}unknown option {}{}", where, where.empty() ? "" : ": ", printable(name_or_alias),
             near.empty() ? "; `fettle config keys` lists all" : fmt::format("; did you mean {}?", near));
}

std::string_view group_title(OptionGroup group) {
  static constexpr std::string_view kTitles[] = {
      "Model",     "Data",        "Method",       "Training",   "Optimizer and schedule",
      "Precision", "Logging",     "Saving",       "Evaluation", "Generation",
      "Export",    "System",      "Quantization", "Preference", "Multimodal",
      "Tracking",  "Distributed", "Other engines"};
  static_assert(std::size(kTitles) == kOptionGroupCount);
  return kTitles[static_cast<int>(group)];
}

std::string_view type_name(OptionType type) {
  static constexpr std::string_view kNames[] = {"true/false", "integer", "number", "integer or fraction",
                                                "text",       "list",    "choice", "map"};
  return kNames[static_cast<int>(type)];
}

std::string_view status_name(OptionStatus status) {
  static constexpr std::string_view kNames[] = {"supported", "accepted, no effect", "refused"};
  return kNames[static_cast<int>(status)];
}

std::string describe_expected(const Option& option) {
  std::string text;
  switch (option.type) {
    case OptionType::kBool:
      text = "true or false";
      break;
    case OptionType::kInt:
      text = "an integer" + range_text(option);
      break;
    case OptionType::kFloat:
      text = "a number" + range_text(option);
      break;
    case OptionType::kIntOrFraction:
      text = "an integer" + range_text(option) + ", or a fraction below 1";
      break;
    case OptionType::kString:
      text = "text";
      break;
    case OptionType::kList:
      text = "a list, or names with commas between them";
      break;
    case OptionType::kChoice:
      text = fmt::format("one of {}", fmt::join(option.choices, ", "));
      break;
    case OptionType::kObject:
      text = "a map of names to values";
      break;
  }
  if (option.type == OptionType::kList && !option.choices.empty())
    text += fmt::format(" of {}", fmt::join(option.choices, ", "));
  return option.nullable() ? text + ", or null" : text;
}

std::vector<std::pair<std::string_view, std::vector<std::string_view>>> refused_by_reason(
    const Option& option) {
  std::vector<std::pair<std::string_view, std::vector<std::string_view>>> groups;
  for (const RefusedChoice& choice : option.refused) {
    auto group =
        std::find_if(groups.begin(), groups.end(), [&](const auto& g) { return g.first == choice.reason; });
    if (group == groups.end()) group = groups.insert(group, {choice.reason, {}});
    group->second.push_back(choice.value);
  }
  return groups;
}

}  // namespace fettle
