#include "fettle/app/config_arguments.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "fettle/base/terminal.h"

namespace fettle::app {
namespace {

std::string value_hint(const Option& option) {
  switch (option.type) {
    case OptionType::kBool:
      return "";
    case OptionType::kInt:
      return " N";
    case OptionType::kFloat:
      return " X";
    case OptionType::kIntOrFraction:
      return " N|X";
    case OptionType::kList:
      return " A,B";
    case OptionType::kObject:
      return " JSON";
    default:
      return " TEXT";
  }
}

// The supported options of `groups`, one paragraph each, below the flags of a command.
std::string option_help(const std::vector<OptionGroup>& groups, bool all) {
  constexpr int kIndent = 30;
  const int columns = std::clamp(terminal_columns(stdout), 60, 120);
  std::string out;
  for (OptionGroup group : groups) {
    std::string part;
    for (const Option& option : all_options()) {
      if (option.group != group || option.status != OptionStatus::kSupported || !(all || option.common))
        continue;
      const std::string left = fmt::format("  --{}{}", option.name, value_hint(option));
      std::string right(option.help);
      if (option.type == OptionType::kChoice) right += fmt::format(" ({})", fmt::join(option.choices, ", "));
      if (!option.nullable()) right += fmt::format(" [{}]", option.fallback);
      const std::string padded = static_cast<int>(left.size()) + 2 > kIndent
                                     ? left + "\n" + std::string(kIndent, ' ')
                                     : left + std::string(kIndent - left.size(), ' ');
      part += padded;
      part += wrap_text(right, columns, kIndent, kIndent) + '\n';
    }
    if (!part.empty()) out += fmt::format("{}:\n{}\n", group_title(group), part);
  }
  out +=
      "Options are written as key=value, --key value, or `key: value` in the YAML file; the last word wins:\n"
      "defaults < YAML < environment (FETTLE_SEED=1) < command line.\n";
  out += all ? "One option: fettle config explain KEY\n"
             : "More: --help-all, or one option: fettle config explain KEY\n";
  return out;
}

}  // namespace

void accept_config(CLI::App& command, std::vector<OptionGroup> groups) {
  command.allow_extras();
  command.footer([groups] { return option_help(groups, false); });
  command
      .add_flag_callback(
          "--help-all",
          [&command, groups] {
            command.footer([groups] { return option_help(groups, true); });
            throw CLI::CallForHelp();
          },
          "Print this help with every option")
      ->group("Options");
}

namespace {
// CLI::App has no place for a usage line of one's own.
std::map<const CLI::App*, std::string>& own_usage_words() {
  static std::map<const CLI::App*, std::string> words;
  return words;
}
}  // namespace

std::string usage_words(const CLI::App& command) {
  auto found = own_usage_words().find(&command);
  return found == own_usage_words().end() ? "[run.yaml] [key=value …]" : found->second;
}

void set_usage_words(const CLI::App& command, const std::string& words) {
  own_usage_words()[&command] = words;
}

bool accepts_config(const CLI::App& command) {
  return command.get_allow_extras();
}

Config read_config(const CLI::App& command, const std::vector<ConfigArguments::Override>& more) {
  ConfigArguments arguments = parse_config_arguments(command.remaining());
  arguments.overrides.insert(arguments.overrides.end(), more.begin(), more.end());
  Config config = load_config(arguments);
  for (const std::string& note : config.notes()) say("note: {}", note);
  return config;
}

}  // namespace fettle::app
