// fettle config: look at the options of a run without running it.
#include <fmt/format.h>

#include <algorithm>
#include <cstdio>

#include "fettle/app/cli.h"
#include "fettle/app/commands.h"
#include "fettle/app/config_arguments.h"
#include "fettle/app/reference_page.h"
#include "fettle/base/error.h"
#include "fettle/base/file.h"
#include "fettle/base/json.h"
#include "fettle/base/terminal.h"

namespace fettle::app {
namespace {

std::vector<OptionGroup> every_group() {
  std::vector<OptionGroup> groups;
  for (int group = 0; group < kOptionGroupCount; ++group) groups.push_back(static_cast<OptionGroup>(group));
  return groups;
}

void add_show(CLI::App& config) {
  struct Flags {
    bool all = false, origin = false;
  };
  auto flags = std::make_shared<Flags>();
  CLI::App& command = add_command(config, "show", "Print the options as they would be used, as YAML");
  command.add_flag("--all", flags->all, "Also those that have their default value");
  command.add_flag("--origin", flags->origin, "Where each value comes from");
  accept_config(command, every_group());
  command.callback(
      [flags, &command] { fmt::print("{}", read_config(command).to_yaml(flags->all, flags->origin)); });
}

void add_validate(CLI::App& config) {
  CLI::App& command = add_command(config, "validate", "Check a YAML file and key=value words");
  accept_config(command, every_group());
  command.callback([&command] {
    read_config(command);
    say("the configuration is valid");
  });
}

void explain(const Option& option) {
  const int columns = std::min(terminal_columns(stdout), 100);
  fmt::print("{}\n  {}\n", styled(option.name, Style::kBold, stdout), wrap_text(option.help, columns, 2, 2));
  auto line = [&](std::string_view name, const std::string& text) {
    fmt::print("  {:<10}{}\n", name, wrap_text(text, columns, 12, 12));
  };
  line("status", std::string(status_name(option.status)));
  if (!option.reason.empty()) line("because", std::string(option.reason));
  line("expects", describe_expected(option));
  if (!option.accepted.empty()) line("accepts", fmt::format("{}", fmt::join(option.accepted, ", ")));
  for (const auto& [reason, values] : refused_by_reason(option))
    line("refuses", fmt::format("{}: {}", fmt::join(values, ", "), reason));
  if (!option.methods.empty())
    line("read by", fmt::format("finetuning_type {}", fmt::join(option.methods, ", ")));
  line("default", std::string(option.fallback));
  if (!option.aliases.empty()) line("also", fmt::format("{}", fmt::join(option.aliases, ", ")));
  line("group", std::string(group_title(option.group)));
}

void add_explain(CLI::App& config) {
  auto keys = std::make_shared<std::vector<std::string>>();
  CLI::App& command =
      add_command(config, "explain", "Say what options mean, what they take and why they may be refused");
  command.add_option("KEY", *keys, "Names of options")->required();
  command.callback([keys] {
    std::vector<const Option*> options;  // all are known before the first is printed
    for (const std::string& key : *keys) options.push_back(&option_or_fail(key, ""));
    for (size_t i = 0; i < options.size(); ++i) {
      if (i > 0) fmt::print("\n");
      explain(*options[i]);
    }
  });
}

OrderedJson option_json(const Option& option) {
  OrderedJson out = {{"name", option.name},
                     {"group", group_title(option.group)},
                     {"status", status_name(option.status)},
                     {"type", type_name(option.type)},
                     {"default", option.fallback},
                     {"expects", describe_expected(option)},
                     {"help", option.help}};
  if (!option.reason.empty()) out["reason"] = option.reason;
  if (!option.aliases.empty()) out["aliases"] = option.aliases;
  if (!option.choices.empty()) out["choices"] = option.choices;
  for (const RefusedChoice& choice : option.refused)
    out["refused"][std::string(choice.value)] = choice.reason;
  return out;
}

void add_keys(CLI::App& config) {
  struct Flags {
    bool all = false, json = false;
    std::string part;
  };
  auto flags = std::make_shared<Flags>();
  CLI::App& command = add_command(config, "keys", "List the options");
  command.add_option("PART", flags->part, "Only options whose name contains this");
  command.add_flag("--all", flags->all, "Also those that are refused or have no effect");
  command.add_flag("--json", flags->json, "Print JSON, one option a line");
  command.callback([flags] {
    Table table({});
    for (const Option& option : all_options()) {
      if (option.name.find(flags->part) == option.name.npos) continue;
      if (!flags->all && option.status != OptionStatus::kSupported) continue;
      if (flags->json) fmt::print("{}\n", option_json(option).dump());
      const bool supported = option.status == OptionStatus::kSupported;
      std::vector<std::string> row = {std::string(option.name), std::string(option.fallback)};
      if (flags->all) row.emplace_back(status_name(option.status));
      row.emplace_back(supported ? option.help : option.reason);
      table.add_row(std::move(row));
    }
    if (!flags->json) fmt::print("{}", table.text(is_terminal(stdout) ? terminal_columns(stdout) : 0));
  });
}

void add_docs(CLI::App& config) {
  auto output = std::make_shared<std::string>();
  CLI::App& command =
      add_command(config, "docs", "Print the reference page of all options (docs/reference/options.md)");
  command.add_option("-o,--output", *output, "Write it to this file");
  command.callback([output] {
    if (output->empty())
      fmt::print("{}", options_page());
    else
      write_file_atomically(*output, options_page());
  });
}

}  // namespace

void add_config(CLI::App& root) {
  CLI::App& config =
      add_command(root, "config", "Look at the options of a run without running it", "Information");
  config.require_subcommand(1);
  add_show(config);
  add_explain(config);
  add_validate(config);
  add_keys(config);
  add_docs(config);
}

}  // namespace fettle::app
