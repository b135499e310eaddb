// fettle data: look at data sets, turn one form into another, mask personal data.
#include <fmt/format.h>

#include <cstdio>
#include <nlohmann/json.hpp>

#include "fettle/app/cli.h"
#include "fettle/app/commands.h"
#include "fettle/app/config_arguments.h"
#include "fettle/base/error.h"
#include "fettle/base/file.h"
#include "fettle/base/progress.h"
#include "fettle/base/terminal.h"
#include "fettle/data/anonymize.h"
#include "fettle/data/convert.h"
#include "fettle/data/preview.h"
#include "fettle/data/request.h"
#include "fettle/data/row_selection.h"
#include "fettle/data/stats.h"
#include "fettle/track/plot.h"

namespace fettle::app {
namespace fs = std::filesystem;
namespace {

const std::vector<OptionGroup> kGroups = {OptionGroup::kModel, OptionGroup::kData, OptionGroup::kSystem};

// A run's options need not be complete to look at its data.
Dataset load(const DatasetRequest& given) {
  DatasetRequest request = given;
  if (request.datasets.empty())
    fail_usage("no data set: write dataset=NAME or dataset=FILE, or give the YAML file of a run");
  Progress progress("tokenize", "row");
  request.progress = [&](int64_t done, int64_t total) { progress.update(done, total); };
  Dataset data = load_dataset(request);
  progress.finish();
  return data;
}

DatasetRequest tokenized_request(const Config& config, const char* command) {
  DatasetRequest request = dataset_request(config, 0);
  if (!request.tokenizer)
    fail_usage("fettle data {} needs a tokenizer: write model_name_or_path=DIR, a folder that has one",
               command);
  return request;
}

// --- preview

struct PreviewFlags {
  int64_t row = 1, rows = 1, first_token = 0, most_tokens = 200;
  bool tokens = false;
};

void preview(const PreviewFlags& flags, const Config& config) {
  DatasetRequest request = tokenized_request(config, "preview");
  // Nothing behind the rows that are shown needs to be read, but rows may be dropped on the way.
  Dataset data = load(request);
  int64_t examples = static_cast<int64_t>(data.examples.size());
  if (flags.row > examples)
    fail_usage("--row {}: there are {} examples ({} rows read, {} dropped)", flags.row, examples,
               data.rows_read, data.dropped);
  const bool color = use_color(stdout);
  for (int64_t i = flags.row - 1; i < std::min(examples, flags.row - 1 + flags.rows); ++i) {
    size_t at = static_cast<size_t>(i);
    const Example& example = data.examples[at];
    fmt::print("{}\n", styled(fmt::format("example {} of {}, {}", i + 1, examples, data.origins[at]),
                              Style::kBold, stdout));
    fmt::print("{}\n", preview_example(example, request.tokenizer.get(), color));
    if (flags.tokens)
      fmt::print("{}\n", token_table(example, request.tokenizer.get(), flags.first_token, flags.most_tokens,
                                     is_terminal(stdout) ? terminal_columns(stdout) : 0));
  }
  for (const std::string& note : data.notes) warn("{}", note);
  if (request.chat)
    for (const std::string& notice : request.chat->notices()) warn("{}", notice);
}

void add_preview(CLI::App& data) {
  auto flags = std::make_shared<PreviewFlags>();
  CLI::App& command =
      add_command(data, "preview", "Show rows as they would be trained: text, ids, trained parts");
  command.add_option("--row", flags->row, "First example to show, from 1")->check(CLI::PositiveNumber);
  command.add_option("--rows", flags->rows, "How many examples")->check(CLI::PositiveNumber);
  command.add_flag("--tokens", flags->tokens, "Also a table of tokens with ids");
  command.add_option("--first-token", flags->first_token, "Where the table begins")
      ->check(CLI::NonNegativeNumber);
  command.add_option("--most-tokens", flags->most_tokens, "Length of the table")->check(CLI::PositiveNumber);
  accept_config(command, kGroups);
  command.callback([flags, &command] { preview(*flags, read_config(command)); });
}

// --- stats

struct StatsFlags {
  std::string png, validation;
  bool json = false, no_privacy = false;
};

/// What is known of a data set without a tokenizer.
struct PlainCounts {
  int64_t rows = 0, broken = 0, turns = 0, characters = 0;
  std::vector<DroppedRow> broken_rows;
};

int64_t characters_of(const std::string& text) {
  return std::count_if(text.begin(), text.end(),
                       [](char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; });
}

PlainCounts count_plain(const DatasetRequest& request) {
  PlainCounts counts;
  for (const std::string& name : request.datasets) {
    DatasetEntry entry = find_dataset(request.dataset_dir, name);
    std::optional<Form> form;
    for_each_selected(entry, request.max_samples, request.seed, 1024,
                      [&](std::vector<Record>&& records, int64_t) {
                        for (const Record& record : records) {
                          if (!form) form = detect_form(entry, record);
                          ++counts.rows;
                          try {
                            if (*form == Form::kTokens)
                              throw BadRow{"rows of token ids need no tokenizer and have no text"};
                            if (*form == Form::kText) {
                              counts.characters += characters_of(to_plain_text(entry, record.value));
                              continue;
                            }
                            Conversation conversation = to_conversation(*form, entry, record.value);
                            counts.turns += static_cast<int64_t>(conversation.messages.size()) / 2;
                            counts.characters += characters_of(conversation.system);
                            for (const Message& message : conversation.messages)
                              counts.characters += characters_of(message.content);
                          } catch (const BadRow& bad) {
                            if (counts.broken++ < 1000)
                              counts.broken_rows.push_back({record.origin, bad.reason});
                          }
                        }
                      });
  }
  return counts;
}

PersonalDataCounts count_private(const DatasetRequest& request) {
  PersonalDataCounts all;
  for (const std::string& name : request.datasets) {
    PersonalDataCounts counts = count_personal_data(find_dataset(request.dataset_dir, name).path);
    for (size_t i = 0; i < all.found.size(); ++i) all.found[i] += counts.found[i];
    all.rows += counts.rows;
    all.rows_with += counts.rows_with;
  }
  return all;
}

std::string private_text(const PersonalDataCounts& counts) {
  std::string found;
  for (int kind = 0; kind < kPersonalDataKinds; ++kind)
    if (int64_t count = counts.found[static_cast<size_t>(kind)])
      found += fmt::format("{}{} {}", found.empty() ? "" : ", ", format_count(count),
                           personal_data_name(static_cast<PersonalData>(kind)));
  if (found.empty()) return "none found";
  return fmt::format("{} in {} of {} rows; `fettle data anonymize` masks them", found,
                     format_count(counts.rows_with), format_count(counts.rows));
}

Json private_json(const PersonalDataCounts& counts) {
  Json json = {{"rows", counts.rows}, {"rows_with", counts.rows_with}};
  for (int kind = 0; kind < kPersonalDataKinds; ++kind)
    json[personal_data_name(static_cast<PersonalData>(kind))] = counts.found[static_cast<size_t>(kind)];
  return json;
}

// The lengths as an outline of bars.
void draw_lengths(const DatasetStats& stats, const std::string& png) {
  Series outline{.name = "examples", .x = {}, .y = {}};
  for (const LengthBin& bin : stats.lengths)
    for (auto [x, y] : {std::pair{bin.from, int64_t{0}},
                        {bin.from, bin.examples},
                        {bin.to, bin.examples},
                        {bin.to, int64_t{0}}}) {
      outline.x.push_back(static_cast<double>(x));
      outline.y.push_back(static_cast<double>(y));
    }
  draw_chart({.title = "Length of examples", .x_label = "tokens", .y_label = "examples", .series = {outline}},
             png);
}

void print_broken(const std::vector<DroppedRow>& rows, int64_t count) {
  constexpr size_t kMost = 20;
  for (size_t i = 0; i < std::min(kMost, rows.size()); ++i)
    fmt::print("  {}: {}\n", rows[i].origin, rows[i].reason);
  if (count > static_cast<int64_t>(kMost))
    fmt::print("  … and {} more\n", format_count(count - static_cast<int64_t>(kMost)));
}

Json broken_json(const std::vector<DroppedRow>& rows) {
  Json list = Json::array();
  for (const DroppedRow& row : rows) list.push_back({{"origin", row.origin}, {"reason", row.reason}});
  return list;
}

void stats(const StatsFlags& flags, const Config& config) {
  DatasetRequest request = dataset_request(config, 0);
  if (request.datasets.empty())
    fail_usage("no data set: write dataset=NAME or dataset=FILE, or give the YAML file of a run");
  const int columns = is_terminal(stdout) ? terminal_columns(stdout) : 80;
  std::optional<PersonalDataCounts> personal;
  if (!flags.no_privacy) personal = count_private(request);
  Json json;
  if (!request.tokenizer) {
    if (!flags.png.empty() || !flags.validation.empty())
      fail_usage("--png and --validation need a tokenizer: write model_name_or_path=DIR");
    PlainCounts counts = count_plain(request);
    json = {{"rows", counts.rows},
            {"broken", counts.broken},
            {"turns", counts.turns},
            {"characters", counts.characters},
            {"broken_rows", broken_json(counts.broken_rows)}};
    if (!flags.json) {
      Table table({});
      table.add_row({"rows", fmt::format("{} read, {} broken", format_count(counts.rows),
                                         format_count(counts.broken))});
      table.add_row({"turns", format_count(counts.turns)});
      table.add_row({"characters", format_count(counts.characters)});
      if (personal) table.add_row({"personal data", private_text(*personal)});
      fmt::print("{}", table.text(columns));
      print_broken(counts.broken_rows, counts.broken);
      say("Token lengths need a tokenizer: model_name_or_path=DIR");
    }
  } else {
    Dataset data = load(request);
    DatasetStats stats = dataset_stats(data);
    std::optional<int64_t> common;
    int64_t validation_examples = 0;
    if (!flags.validation.empty()) {
      DatasetRequest other = request;
      other.datasets = {flags.validation};
      Dataset validation = load(other);
      common = overlap(data, validation);
      validation_examples = static_cast<int64_t>(validation.examples.size());
    }
    json = {{"rows", stats.rows_read},
            {"dropped", stats.dropped},
            {"without_label", stats.without_label},
            {"truncated", stats.truncated},
            {"examples", stats.examples},
            {"tokens", stats.tokens},
            {"label_tokens", stats.label_tokens},
            {"shortest", stats.shortest},
            {"median", stats.median},
            {"p95", stats.p95},
            {"longest", stats.longest},
            {"duplicates", stats.duplicates},
            {"dropped_rows", broken_json(data.dropped_rows)}};
    json["lengths"] = Json::array();
    for (const LengthBin& bin : stats.lengths)
      json["lengths"].push_back({{"from", bin.from}, {"to", bin.to}, {"examples", bin.examples}});
    if (common) json["validation"] = {{"examples", validation_examples}, {"in_training", *common}};
    if (!flags.json) {
      fmt::print("{}", stats_text(stats, columns));
      if (personal) fmt::print("\npersonal data  {}\n", private_text(*personal));
      if (common)
        fmt::print("validation     {} of {} examples are also in the training data\n", format_count(*common),
                   format_count(validation_examples));
      if (stats.dropped > 0) fmt::print("\ndropped rows\n");
      print_broken(data.dropped_rows, stats.dropped);
    }
    if (!flags.png.empty()) {
      draw_lengths(stats, flags.png);
      say("Lengths drawn: {}", flags.png);
    }
  }
  if (personal) json["personal_data"] = private_json(*personal);
  if (flags.json) fmt::print("{}\n", json.dump(1, ' ', false, Json::error_handler_t::replace));
}

void add_stats(CLI::App& data) {
  auto flags = std::make_shared<StatsFlags>();
  CLI::App& command = add_command(
      data, "stats", "Lengths, truncation, trained share, repetition, broken rows, personal data");
  command.add_option("--png", flags->png, "Draw the histogram of lengths into this file")->type_name("FILE");
  command
      .add_option("--validation", flags->validation,
                  "Count examples that this data set shares with the training data")
      ->type_name("NAME|FILE");
  command.add_flag("--json", flags->json, "Print one JSON object");
  command.add_flag("--no-privacy", flags->no_privacy, "Do not look for personal data");
  accept_config(command, kGroups);
  command.callback([flags, &command] { stats(*flags, read_config(command)); });
}

// --- convert, anonymize

void refuse_existing(const std::string& output, bool force) {
  if (!force && fs::exists(output)) fail_usage("{}: is there already; write --force to replace it", output);
}

struct ConvertFlags {
  std::string input, output, form, dataset_dir = "data", system;
  bool force = false;
};

void convert(const ConvertFlags& flags) {
  refuse_existing(flags.output, flags.force);
  ConvertReport report = convert_dataset(flags.dataset_dir, flags.input, parse_target_form(flags.form),
                                         flags.output, flags.system);
  say("{}: {} of {} rows written ({} → {})", flags.output, format_count(report.written),
      format_count(report.read), form_name(report.from), flags.form);
  for (size_t i = 0; i < std::min<size_t>(5, report.dropped_rows.size()); ++i)
    warn("{}: {}", report.dropped_rows[i].origin, report.dropped_rows[i].reason);
  if (report.read - report.written > 5) warn("… and {} more rows left out", report.read - report.written - 5);
  say("To name it in dataset_info.json:");
  fmt::print("{}\n", report.registry_entry);
}

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

struct AnonymizeFlags {
  std::string input, output, report;
  bool force = false, rules = false;
};

void print_rules() {
  Table table({"mark", "what is replaced"});
  table.add_row({"[EMAIL]", "name@host.tld"});
  table.add_row(
      {"[ID]",
       "身份证号 (18 places, birth date and check digit valid); US social security numbers 123-45-6789"});
  table.add_row({"[CARD]", "bank cards: 13 to 19 digits, also in groups, Luhn digit valid"});
  table.add_row({"[PHONE]",
                 "手机 (1[3-9] and 9 digits, +86), 座机 (0xx-xxxxxxx); North American with separators; "
                 "+country numbers"});
  table.add_row({"[IP]", "IPv4 addresses"});
  fmt::print("{}", table.text());
  fmt::print(
      "Names, postal addresses and the like are not found by rules: read the data before you share it.\n");
}

void anonymize(const AnonymizeFlags& flags) {
  if (flags.rules) return print_rules();
  if (flags.input.empty() || flags.output.empty())
    fail_usage("fettle data anonymize needs IN and OUT (or --rules)");
  refuse_existing(flags.output, flags.force);
  PersonalDataCounts counts = anonymize_dataset(flags.input, flags.output);
  if (!flags.report.empty()) write_file_atomically(flags.report, private_json(counts).dump(1) + "\n");
  Table table({"kind", "masked"}, {Align::kLeft, Align::kRight});
  for (int kind = 0; kind < kPersonalDataKinds; ++kind)
    table.add_row({personal_data_name(static_cast<PersonalData>(kind)),
                   format_count(counts.found[static_cast<size_t>(kind)])});
  fmt::print("{}", table.text());
  say("{}: {} rows, {} of them changed", flags.output, format_count(counts.rows),
      format_count(counts.rows_with));
}

void add_anonymize(CLI::App& data) {
  auto flags = std::make_shared<AnonymizeFlags>();
  CLI::App& command =
      add_command(data, "anonymize", "Mask emails, phone, identity and card numbers, addresses");
  command.add_option("IN", flags->input, "File, folder or pattern");
  command.add_option("OUT", flags->output, "File to write: .json or .jsonl");
  command.add_option("--report", flags->report, "Write the counts as JSON; never a value")->type_name("FILE");
  command.add_flag("--force", flags->force, "Replace OUT");
  command.add_flag("--rules", flags->rules, "List what is replaced");
  command.callback([flags] { anonymize(*flags); });
}

}  // namespace

void add_data(CLI::App& root) {
  CLI::App& data =
      add_command(root, "data", "Look at data sets, convert them, mask personal data", "Train and export");
  data.require_subcommand(1);
  add_preview(data);
  add_stats(data);
  add_convert(data);
  add_anonymize(data);
}

}  // namespace fettle::app
