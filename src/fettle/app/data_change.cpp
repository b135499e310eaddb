// fettle data convert, fettle data anonymize: new files from data files.
#include <cstdio>
#include <nlohmann/json.hpp>

#include "fettle/app/cli.h"
#include "fettle/app/data_command.h"
#include "fettle/base/error.h"
#include "fettle/base/file.h"
#include "fettle/base/progress.h"
#include "fettle/base/terminal.h"
#include "fettle/data/anonymize.h"
#include "fettle/data/convert.h"

namespace fettle::app {
namespace fs = std::filesystem;
namespace {

void refuse_existing(const std::string& output, bool force) {
  if (!force && fs::exists(output)) fail_usage("{}: is there already; write --force to replace it", output);
}

struct ConvertFlags {
  std::string input, output, form, dataset_dir = "data", system;
  bool force = false;
};

void convert(const ConvertFlags& flags) {
  refuse_existing(flags.output, flags.force);
  Progress progress("converting", "row");
  ConvertReport report =
      convert_dataset(flags.dataset_dir, flags.input, parse_target_form(flags.form), flags.output,
                      flags.system, [&](int64_t rows) { progress.update(rows); });
  progress.finish();
  say("{}: {} of {} rows written ({} → {})", flags.output, format_count(report.written),
      format_count(report.read), form_name(report.from), flags.form);
  for (size_t i = 0; i < std::min<size_t>(5, report.dropped_rows.size()); ++i)
    warn("{}: {}", report.dropped_rows[i].origin, report.dropped_rows[i].reason);
  if (report.read - report.written > 5) warn("… {} rows in all are left out", report.read - report.written);
  say("To name it in dataset_info.json:");
  fmt::print("{}\n", report.registry_entry);
}

struct AnonymizeFlags {
  std::string input, output, report;
  std::vector<std::string> keep;
  bool force = false, rules = false;
};

OrderedJson report_json(const PersonalDataCounts& counts) {
  OrderedJson found = OrderedJson::object();
  for (int kind = 0; kind < kPersonalDataKinds; ++kind)
    found[personal_data_key(static_cast<PersonalData>(kind))] = counts.found[static_cast<size_t>(kind)];
  return {{"rows", counts.rows}, {"rows_with", counts.rows_with}, {"found", found}};
}

void print_rules() {
  Table table({"rule", "becomes", "what is replaced"});
  for (int kind = 0; kind < kPersonalDataKinds; ++kind) {
    PersonalData rule = static_cast<PersonalData>(kind);
    table.add_row({personal_data_key(rule), personal_data_mask(rule), personal_data_rule(rule)});
  }
  fmt::print("{}", table.text());
  say("Rules find what has a shape or stands behind a telling word. Other names and places stay: read the "
      "data "
      "before you share it.");
}

void anonymize(const AnonymizeFlags& flags) {
  if (flags.rules) return print_rules();
  if (flags.input.empty() || flags.output.empty())
    fail_usage("fettle data anonymize needs IN and OUT (or --rules)");
  refuse_existing(flags.output, flags.force);
  if (!flags.report.empty()) refuse_existing(flags.report, flags.force);
  Progress progress("masking", "row");
  PersonalDataCounts counts =
      anonymize_dataset(flags.input, flags.output, personal_data_rules_without(flags.keep),
                        [&](int64_t rows) { progress.update(rows); });
  progress.finish();
  if (!flags.report.empty()) write_file_atomically(flags.report, report_json(counts).dump(2) + "\n");
  Table table({"kind", "masked"}, {Align::kLeft, Align::kRight});
  for (int kind = 0; kind < kPersonalDataKinds; ++kind)
    table.add_row({personal_data_name(static_cast<PersonalData>(kind)),
                   format_count(counts.found[static_cast<size_t>(kind)])});
  fmt::print("{}", table.text());
  say("{}: {} rows, {} of them changed", flags.output, format_count(counts.rows),
      format_count(counts.rows_with));
}

}  // namespace

void add_convert(CLI::App& data) {
  auto flags = std::make_shared<ConvertFlags>();
  CLI::App& command = add_command(data, "convert", "Turn one form of data into another");
  command.add_option("IN", flags->input, "File, folder, pattern, or name of a registered data set")
      ->required();
  command.add_option("OUT", flags->output, "File to write: .json or .jsonl")->required();
  command.add_option("--to", flags->form, "alpaca, sharegpt, messages, emollm or prompt-completion")
      ->required()
      ->type_name("FORM");
  command.add_option("--system", flags->system, "System prompt of conversations that have none")
      ->type_name("TEXT");
  command.add_option("--dataset-dir", flags->dataset_dir, "Folder of dataset_info.json")->type_name("DIR");
  command.add_flag("--force", flags->force, "Replace OUT");
  command.callback([flags] { convert(*flags); });
}

void add_anonymize(CLI::App& data) {
  auto flags = std::make_shared<AnonymizeFlags>();
  CLI::App& command =
      add_command(data, "anonymize", "Mask emails, phone, identity and card numbers, addresses");
  command.add_option("IN", flags->input, "File, folder or pattern");
  command.add_option("OUT", flags->output, "File to write: .json or .jsonl");
  command.add_option("--report", flags->report, "Write the counts as JSON; never a value")->type_name("FILE");
  command.add_option("--keep", flags->keep, "Leave these alone, for example name,address; see --rules")
      ->type_name("RULE,…")
      ->delimiter(',')
      ->allow_extra_args(false);
  command.add_flag("--force", flags->force, "Replace OUT and the report");
  command.add_flag("--rules", flags->rules, "List what is replaced");
  command.callback([flags] { anonymize(*flags); });
}

}  // namespace fettle::app
