// The one schema of options: every key of a run is declared once, and YAML reading, `key=value`, --help,
// shell completion, the board's forms and docs/reference/options.md are all made from it. Names are
// LLaMA-Factory's and transformers.TrainingArguments'; older spellings are aliases.
#pragma once
#include <cstdint>
#include <limits>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace fettle {

enum class OptionType {
  kBool,
  kInt,
  kFloat,
  kIntOrFraction,  ///< an integer, or a fraction below 1 of something the help names
  kString,
  kList,    ///< strings; in YAML a sequence or one text with commas
  kChoice,  ///< one of `choices`
  kObject,  ///< a flat map of scalars; in YAML a map or a JSON text
};

enum class OptionStatus {
  kSupported,
  kNoEffect,  ///< accepted, because it changes nothing here; `reason` says why
  kRefused,   ///< any value other than the default (or one of `accepted`) is an error; `reason` says why
};

enum class OptionGroup {
  kModel,
  kData,
  kMethod,
  kTraining,
  kOptimizer,
  kPrecision,
  kLogging,
  kSaving,
  kEvaluation,
  kGeneration,
  kExport,
  kSystem,
  kQuantization,
  kPreference,
  kMultimodal,
  kTracking,
  kDistributed,
  kOtherEngines,
};
inline constexpr int kOptionGroupCount = 18;
std::string_view group_title(OptionGroup group);

/// A value of a kChoice option (or of the entries of a kList) that Fettle knows but does not take.
struct RefusedChoice {
  std::string_view value;
  std::string_view reason;
};

/// Another spelling of a choice; the value read is `choice`.
struct ChoiceSpelling {
  std::string_view written, choice;
};

/// One option. Text fields are static.
struct Option {
  std::string_view name;
  std::vector<std::string_view> aliases = {};
  OptionType type = OptionType::kString;
  /// As it would stand in YAML; "null" means unset, and then null is a legal value.
  std::string_view fallback = "null";
  std::string_view help = "";
  OptionStatus status = OptionStatus::kSupported;
  std::string_view reason = "";
  double min = -std::numeric_limits<double>::infinity();
  double max = std::numeric_limits<double>::infinity();
  bool above_min = false;  ///< `min` itself is excluded
  bool below_max = false;  ///< `max` itself is excluded
  std::vector<std::string_view> choices = {};
  std::vector<RefusedChoice> refused = {};
  /// Of a kChoice other names of its choices; of a kInt words for numbers, which may lie outside of its
  /// range.
  std::vector<ChoiceSpelling> spellings = {};
  /// Values besides the default that a kRefused option takes, because they ask for nothing.
  std::vector<std::string_view> accepted = {};
  /// Values of finetuning_type that read the option; empty: all.
  std::vector<std::string_view> methods = {};
  bool common = false;  ///< in the short help
  OptionGroup group = OptionGroup::kModel;

  bool nullable() const { return fallback == "null"; }
};

/// All options, by group, in the order of the reference page.
std::span<const Option> all_options();
/// By name or alias; also with '-' for '_'. nullptr when there is none.
const Option* find_option(std::string_view name_or_alias);
/// The same; Error(kUsage) with `where` (a file and line, "command line", or "") and the nearest name when
/// there is none.
const Option& option_or_fail(std::string_view name_or_alias, std::string_view where);

std::string_view type_name(OptionType type);
std::string_view status_name(OptionStatus status);
/// "an integer from 1 to 1024", "one of linear, cosine", "a number above 0": what a value has to be.
std::string describe_expected(const Option& option);
/// option.refused gathered by reason, in order of first mention.
std::vector<std::pair<std::string_view, std::vector<std::string_view>>> refused_by_reason(
    const Option& option);

}  // namespace fettle
