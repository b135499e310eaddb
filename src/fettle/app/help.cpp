#include "fettle/app/help.h"

#include <fmt/format.h>

#include <algorithm>

#include "fettle/app/config_arguments.h"
#include "fettle/base/terminal.h"

namespace fettle::app {
namespace {

std::vector<const CLI::App*> commands_of(const CLI::App* app) {
  return app->get_subcommands([](const CLI::App* command) { return !command->get_group().empty(); });
}

std::string commands(const CLI::App* app) {
  std::vector<std::string> groups;
  for (const CLI::App* command : commands_of(app))
    if (std::find(groups.begin(), groups.end(), command->get_group()) == groups.end())
      groups.push_back(command->get_group());
  std::string out;
  for (const std::string& group : groups) {
    Table table({});
    for (const CLI::App* command : commands_of(app))
      if (command->get_group() == group)
        table.add_row({"  " + command->get_name(), command->get_description()});
    out += fmt::format("\n{}:\n{}", group, table.text());
  }
  return out;
}

}  // namespace

std::string HelpFormatter::make_help(const CLI::App* app, std::string name, CLI::AppFormatMode) const {
  std::string text =
      make_description(app) + make_usage(app, name) + make_positionals(app) + commands(app) + flags(app);
  std::string footer = app->get_footer();
  footer.erase(footer.find_last_not_of('\n') + 1);
  return footer.empty() ? text : text + '\n' + footer + '\n';
}

std::string HelpFormatter::make_usage(const CLI::App* app, std::string name) const {
  std::string words = name.empty() ? app->get_name() : name;
  if (!commands_of(app).empty()) words += " COMMAND";
  words += " [flags]";
  for (const CLI::Option* option :
       app->get_options([](const CLI::Option* o) { return o->get_positional(); })) {
    const std::string positional = option->get_name(true);
    words += option->get_required() ? " " + positional : " [" + positional + "]";
  }
  if (app->get_allow_extras()) words += " " + usage_words(*app);
  return fmt::format("\nUsage: {}\n", words);
}

std::string HelpFormatter::flags(const CLI::App* app) const {
  std::vector<std::string> groups = app->get_groups();
  std::stable_partition(groups.begin(), groups.end(),
                        [](const std::string& group) { return group != kOutputGroup; });
  std::string out;
  for (const std::string& group : groups) {
    const auto members =
        app->get_options([&](const CLI::Option* o) { return o->get_group() == group && o->nonpositional(); });
    if (!group.empty() && !members.empty()) out += make_group(group, false, members);
  }
  return out;
}

}  // namespace fettle::app
