// fettle completion: scripts for the shells, made from the commands and the schema.
#include <fmt/format.h>

#include <cstdio>
#include <functional>

#include "fettle/app/cli.h"
#include "fettle/app/commands.h"
#include "fettle/app/config_arguments.h"

namespace fettle::app {
namespace {

struct Command {
  std::string path;  // "config show"; "" is the root
  std::string name, description;
  std::vector<std::string> children, flags;
  bool options = false;  // takes the options of a run
};

std::vector<Command> all_commands(const CLI::App& root) {
  std::vector<Command> commands;
  std::function<void(const CLI::App&, const std::string&)> visit = [&](const CLI::App& app,
                                                                       const std::string& path) {
    Command command;
    command.path = path;
    command.name = app.get_name();
    command.description = app.get_description();
    command.options = accepts_config(app);
    for (const CLI::Option* option : app.get_options([](const CLI::Option* o) { return o->nonpositional(); }))
      for (const std::string& name : option->get_lnames()) command.flags.push_back("--" + name);
    const auto children =
        app.get_subcommands([](const CLI::App* child) { return !child->get_group().empty(); });
    for (const CLI::App* child : children) command.children.push_back(child->get_name());
    commands.push_back(std::move(command));
    for (const CLI::App* child : children)
      visit(*child, path.empty() ? child->get_name() : path + " " + child->get_name());
  };
  visit(root, "");
  return commands;
}

std::vector<const Option*> supported_options() {
  std::vector<const Option*> options;
  for (const Option& option : all_options())
    if (option.status == OptionStatus::kSupported) options.push_back(&option);
  return options;
}

// The values that an option can have, or "" when they are not a short list.
std::string values_of(const Option& option) {
  if (option.type == OptionType::kBool) return "true false";
  return fmt::format("{}", fmt::join(option.choices, " "));
}

std::string option_names(std::string_view before, std::string_view after) {
  std::string out;
  for (const Option* option : supported_options())
    out += fmt::format("{}{}{}{}", out.empty() ? "" : " ", before, option->name, after);
  return out;
}

// `case` branches from option name to values, the same for bash and zsh.
std::string value_branches() {
  std::string out;
  for (const Option* option : supported_options())
    if (const std::string values = values_of(*option); !values.empty())
      out += fmt::format("    {}) echo \"{}\" ;;\n", option->name, values);
  return out;
}

// `case` branches from command path to its words.
std::string command_branches(const std::vector<Command>& commands, bool flags) {
  std::string out;
  for (const Command& command : commands)
    out += fmt::format("    \"{}\") echo \"{}\" ;;\n", command.path,
                       fmt::join(flags ? command.flags : command.children, " "));
  return out;
}

std::string paths_with_options(const std::vector<Command>& commands) {
  std::string out;
  for (const Command& command : commands)
    if (command.options) out += fmt::format("{}\"{}\"", out.empty() ? "" : "|", command.path);
  return out;
}

// Functions that bash and zsh share.
std::string posix_functions(const std::vector<Command>& commands) {
  return fmt::format(
      "_fettle_values() {{\n  case \"$1\" in\n{}  esac\n}}\n"
      "_fettle_children() {{\n  case \"$1\" in\n{}  esac\n}}\n"
      "_fettle_flags() {{\n  case \"$1\" in\n{}  esac\n}}\n"
      "_fettle_takes_options() {{\n  case \"$1\" in\n    {}) return 0 ;;\n  esac\n  return 1\n}}\n"
      "_fettle_options=\"{}\"\n",
      value_branches(), command_branches(commands, false), command_branches(commands, true),
      paths_with_options(commands), option_names("", ""));
}

std::string bash_script(const std::vector<Command>& commands) {
  return "# bash completion for fettle: source <(fettle completion bash)\n" + posix_functions(commands) +
         R"sh(_fettle() {
  local cur="${COMP_WORDS[COMP_CWORD]}" prev="${COMP_WORDS[COMP_CWORD-1]}" path="" key="" i word
  for ((i = 1; i < COMP_CWORD; i++)); do
    word="${COMP_WORDS[i]}"
    [[ "$word" == -* ]] && continue
    [[ " $(_fettle_children "$path") " == *" $word "* ]] || break
    path="${path:+$path }$word"
  done
  COMPREPLY=()
  # "key=value" arrives as three words, since = is a word break.
  if [[ "$cur" == "=" ]]; then key="$prev"; cur=""
  elif [[ "$prev" == "=" ]]; then key="${COMP_WORDS[COMP_CWORD-2]}"
  elif [[ "$prev" == --* ]]; then key="$prev"
  fi
  key="${key#--}"
  if [[ -n "$key" ]] && _fettle_takes_options "$path"; then
    local values="$(_fettle_values "$key")"
    if [[ -n "$values" ]]; then COMPREPLY=($(compgen -W "$values" -- "$cur")); return; fi
    if [[ " $_fettle_options " == *" $key "* ]]; then COMPREPLY=($(compgen -f -- "$cur")); return; fi
  fi
  local words="$(_fettle_children "$path")"
  if [[ "$cur" == -* ]]; then
    words="$(_fettle_flags "$path")"
    _fettle_takes_options "$path" && words="$words $(printf -- '--%s ' $_fettle_options)"
    COMPREPLY=($(compgen -W "$words" -- "$cur"))
  elif [[ -n "$words" ]]; then
    COMPREPLY=($(compgen -W "$words" -- "$cur"))
  elif _fettle_takes_options "$path"; then
    COMPREPLY=($(compgen -f -- "$cur"))
    if [[ -n "$cur" ]]; then
      local keys=($(compgen -W "$(printf '%s= ' $_fettle_options)" -- "$cur"))
      ((${#keys[@]})) && compopt -o nospace 2>/dev/null
      COMPREPLY+=("${keys[@]}")
    fi
  else
    COMPREPLY=($(compgen -f -- "$cur"))
  fi
}
complete -F _fettle fettle
)sh";
}

std::string zsh_script(const std::vector<Command>& commands) {
  return "#compdef fettle\n# zsh completion for fettle: fettle completion zsh > \"${fpath[1]}/_fettle\"\n" +
         posix_functions(commands) + R"sh(_fettle() {
  local path_="" key="" word i values
  for ((i = 2; i < CURRENT; i++)); do
    word="${words[i]}"
    [[ "$word" == -* ]] && continue
    [[ " $(_fettle_children "$path_") " == *" $word "* ]] || break
    path_="${path_:+$path_ }$word"
  done
  local cur="${words[CURRENT]}" prev="${words[CURRENT-1]}"
  if _fettle_takes_options "$path_"; then
    if [[ "$cur" == *=* ]]; then key="${${cur%%=*}#--}"; compset -P '*='
    elif [[ "$prev" == --* && "$prev" != *=* ]]; then key="${prev#--}"
    fi
    if [[ -n "$key" ]]; then
      values="$(_fettle_values "$key")"
      if [[ -n "$values" ]]; then compadd -- ${=values}; return; fi
      if [[ " $_fettle_options " == *" $key "* ]]; then _files; return; fi
    fi
  fi
  if [[ "$cur" == -* ]]; then
    compadd -- ${=$(_fettle_flags "$path_")}
    _fettle_takes_options "$path_" && compadd -- --${^${=_fettle_options}}
    return
  fi
  values="$(_fettle_children "$path_")"
  if [[ -n "$values" ]]; then compadd -- ${=values}; return; fi
  _fettle_takes_options "$path_" && compadd -S '' -- ${^${=_fettle_options}}=
  _files
}
if [[ "$funcstack[1]" == "_fettle" ]]; then _fettle "$@"; else compdef _fettle fettle; fi
)sh";
}

std::string fish_text(std::string_view text) {
  std::string out = "'";
  for (char c : text) {
    if (c == '\'' || c == '\\') out += '\\';
    out += c;
  }
  return out + "'";
}

std::string fish_script(const std::vector<Command>& commands) {
  std::string out =
      "# fish completion for fettle: fettle completion fish > ~/.config/fish/completions/fettle.fish\n";
  // The commands of the line so far, as one string.
  out += R"sh(function __fettle_at
    set -l words (commandline -opc)
    set -e words[1]
    set -l path (string match -v -- '-*' $words)
    string match -q -- "$argv[1]" "$path"; or string match -q -- "$argv[1] *" "$path"
end
function __fettle_is
    set -l words (commandline -opc)
    set -e words[1]
    set -l path (string match -v -- '-*' $words)
    test "$argv[1]" = "$path"
end
)sh";
  for (const Command& command : commands) {
    const std::string here =
        command.path.empty() ? "__fettle_is ''" : "__fettle_at " + fish_text(command.path);
    for (const Command& child : commands) {
      const std::string expected = command.path.empty() ? child.name : command.path + " " + child.name;
      if (child.path != expected || child.path.empty()) continue;
      out += fmt::format("complete -c fettle -f -n {} -a {} -d {}\n",
                         fish_text("__fettle_is " + fish_text(command.path)), child.name,
                         fish_text(child.description));
    }
    for (const std::string& flag : command.flags)
      out += fmt::format("complete -c fettle -n {} -l {}\n", fish_text(here), flag.substr(2));
  }
  std::string where;
  for (const Command& command : commands)
    if (command.options) where += (where.empty() ? "" : "; or ") + ("__fettle_at " + fish_text(command.path));
  for (const Option* option : supported_options()) {
    const std::string values = values_of(*option);
    out += fmt::format("complete -c fettle -n {} -l {} {} -d {}\n", fish_text(where), option->name,
                       values.empty() ? "-r" : "-x -a " + fish_text(values), fish_text(option->help));
  }
  return out;
}

void add_shell(CLI::App& completion, CLI::App& root, const std::string& shell,
               std::string (*script)(const std::vector<Command>&), const std::string& use) {
  CLI::App& command = add_command(completion, shell, "For " + shell + ": " + use);
  command.callback([&root, script] { fmt::print("{}", script(all_commands(root))); });
}

}  // namespace

void add_completion(CLI::App& root) {
  CLI::App& command = add_command(root, "completion", "Print a completion script for a shell", "Information");
  command.require_subcommand(1);
  add_shell(command, root, "bash", bash_script, "source <(fettle completion bash)");
  add_shell(command, root, "zsh", zsh_script, "fettle completion zsh > \"${fpath[1]}/_fettle\"");
  add_shell(command, root, "fish", fish_script,
            "fettle completion fish > ~/.config/fish/completions/fettle.fish");
}

}  // namespace fettle::app
