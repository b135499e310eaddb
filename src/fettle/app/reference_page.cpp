#include "fettle/app/reference_page.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "fettle/base/config/options.h"

namespace fettle::app {
namespace {

// A cell of a Markdown table: bars would end it.
std::string cell(std::string_view text) {
  std::string out;
  for (char c : text) {
    if (c == '|') out += '\\';
    out += c;
  }
  return out;
}

std::string notes(const Option& option) {
  std::string text = std::string(option.help) + ".";
  if (option.status == OptionStatus::kSupported)
    text += fmt::format(" Expects {}.", describe_expected(option));
  if (!option.reason.empty()) {
    text += fmt::format(" {}: {}.", option.status == OptionStatus::kRefused ? "Refused" : "No effect",
                        option.reason);
    if (!option.accepted.empty()) text += fmt::format(" Accepted: {}.", fmt::join(option.accepted, ", "));
  }
  if (!option.methods.empty())
    text += fmt::format(" Read with finetuning_type {}.", fmt::join(option.methods, ", "));
  for (const auto& [reason, values] : refused_by_reason(option))
    text += fmt::format(" Refused: `{}`: {}.", fmt::join(values, "`, `"), reason);
  if (!option.aliases.empty()) text += fmt::format(" Also: `{}`.", fmt::join(option.aliases, "`, `"));
  return cell(text);
}

void write_group(OptionGroup group, std::string& out) {
  out += fmt::format("\n## {}\n\n| option | status | type | default | |\n|---|---|---|---|---|\n",
                     group_title(group));
  // Supported options first, in the order of the schema.
  for (OptionStatus status : {OptionStatus::kSupported, OptionStatus::kRefused, OptionStatus::kNoEffect}) {
    for (const Option& option : all_options()) {
      if (option.group != group || option.status != status) continue;
      out += fmt::format("| `{}` | {} | {} | `{}` | {} |\n", option.name, status_name(option.status),
                         type_name(option.type), option.fallback, notes(option));
    }
  }
}

}  // namespace

std::string options_page() {
  std::array<int, 3> counts{};
  for (const Option& option : all_options()) ++counts[static_cast<int>(option.status)];
  std::string out = fmt::format(
      "# Options\n\n"
      "<!-- Made by `fettle config docs`; do not edit. -->\n\n"
      "Every key that a run understands, from LLaMA-Factory, transformers' `TrainingArguments` (with\n"
      "`Seq2SeqTrainingArguments`) and TRL's `SFTConfig`. An option is written as `key: value` in the YAML "
      "file, as\n"
      "`key=value` or `--key value` on the command line, or as the environment variable `FETTLE_KEY`; the "
      "last word\n"
      "wins: defaults, then YAML, then environment, then command line. An unknown key is an error.\n\n"
      "- **supported** ({}): does what it says.\n"
      "- **accepted, no effect** ({}): changes nothing here, for the reason given, so it does not stop a "
      "run.\n"
      "- **refused** ({}): any value but the default ends in an error with the reason.\n\n"
      "\"(HF)\", \"(TRL)\" and \"(old HF)\" name the tool or the version that a key comes from.\n",
      counts[0], counts[1], counts[2]);
  for (int group = 0; group < kOptionGroupCount; ++group) write_group(static_cast<OptionGroup>(group), out);
  return out;
}

}  // namespace fettle::app
