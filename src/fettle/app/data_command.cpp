// fettle data: preview and stats look at data as a run would train on it.
#include <cstdio>
#include <nlohmann/json.hpp>

#include "fettle/app/cli.h"
#include "fettle/app/commands.h"
#include "fettle/app/data_command.h"
#include "fettle/app/data_words.h"
#include "fettle/base/error.h"
#include "fettle/base/progress.h"
#include "fettle/base/terminal.h"
#include "fettle/data/preview.h"
#include "fettle/data/stats.h"
#include "fettle/track/plot.h"

namespace fettle::app {
namespace {

/// inspect_dataset() with a progress display, unless `label` is empty, and notes.
void inspect(DatasetRequest request, const std::string& label, const std::function<bool(int64_t)>& wanted,
             const std::function<void(Record&&, InspectedRow&&)>& take) {
  // Rows of token ids need no tokenizer to be looked at.
  if (request.vocab_size == 0) request.vocab_size = int64_t{1} << 31;
  if (request.tokenizer && !request.chat && request.stage == "sft")
    warn(
        "the model has no chat template, so conversations are shown without tokens; name one with "
        "--template");
  Progress progress({.label = label,
                     .unit = "row",
                     .style = label.empty() ? ProgressStyle::kSilent : ProgressStyle::kAutomatic});
  request.progress = [&](int64_t done, int64_t total) { progress.update(done, total); };
  std::vector<std::string> notes = inspect_dataset(request, wanted, take);
  progress.finish();
  for (const std::string& note : notes) warn("{}", note);
  if (request.chat)
    for (const std::string& notice : request.chat->notices()) warn("{}", notice);
}

struct PreviewFlags {
  DataWords words;
  int64_t row = 1, rows = 1;
  std::optional<int64_t> tokens;
  bool json = false;
};

std::string heading(int64_t number, const Record& record, const InspectedRow& row) {
  std::string text = fmt::format("row {}  {}  {}", number, record.origin, form_name(row.form));
  if (row.rounds > 0) text += fmt::format(", {} {}", row.rounds, row.rounds == 1 ? "round" : "rounds");
  return text;
}

// Around the first trained token and at the end: where a wrong mask shows itself.
std::string usual_tokens(const Example& example, const Tokenizer* tokenizer, int columns) {
  int64_t size = static_cast<int64_t>(example.ids.size()), first = 0;
  while (first < size && example.labels[static_cast<size_t>(first)] < 0) ++first;
  int64_t begin = std::clamp<int64_t>(first - 6, 0, std::max<int64_t>(0, size - 12));
  return token_table(example, tokenizer, {{begin, 12}, {size - 4, 4}}, columns);
}

void print_row(const PreviewFlags& flags, int64_t number, const Record& record, const InspectedRow& row,
               const Tokenizer* tokenizer) {
  int columns = is_terminal(stdout) ? terminal_columns(stdout) : 0;
  fmt::print("{}\n", styled(heading(number, record, row), Style::kBold, stdout));
  if (!row.problem.empty())
    fmt::print("{} {}\n", styled("not used:", Style::kRed, stdout), visible_text(row.problem));
  if (!row.label.empty()) fmt::print("label: {}\n", visible_text(row.label));
  if (row.example.ids.empty()) {
    std::string text = visible_text(row.text);
    if (!text.empty()) fmt::print("{}{}", text, text.back() == '\n' ? "" : "\n");
    if (row.problem.empty())
      fmt::print("({} characters, {} trained)\n", format_count(row.characters),
                 format_count(row.trained_characters));
    return;
  }
  std::vector<Example> samples = row.example.samples(), whole = row.whole.samples();
  for (size_t i = 0; i < samples.size(); ++i) {
    if (row.form == Form::kPreference)
      fmt::print("{}{}\n", i == 0 ? "" : "\n", styled(i == 0 ? "chosen" : "rejected", Style::kBold, stdout));
    InspectedRow side;
    side.example = samples[i];
    if (row.truncated) side.whole = whole[i];
    side.truncated = row.truncated && side.whole.ids.size() > side.example.ids.size();
    if (row.form == Form::kLabelled) {
      // The class is no token of the text.
      for (Example* part : {&side.example, &side.whole})
        std::fill(part->labels.begin(), part->labels.end(), kIgnoreLabel);
    }
    fmt::print("{}\n", preview_example(side.example, tokenizer, use_color(stdout)));
    if (std::string cut = cut_text(side, tokenizer); !cut.empty())
      fmt::print("{}\n", styled(cut, Style::kYellow, stdout));
    if (flags.tokens.value_or(1) > 0)
      fmt::print("\n{}", flags.tokens ? token_table(side.example, tokenizer, {{0, *flags.tokens}}, columns)
                                      : usual_tokens(side.example, tokenizer, columns));
  }
}

OrderedJson row_json(int64_t number, const Record& record, const InspectedRow& row,
                     const Tokenizer* tokenizer) {
  OrderedJson out = {{"row", number}, {"origin", record.origin}, {"form", form_name(row.form)}};
  if (!row.problem.empty()) out["problem"] = row.problem;
  out["truncated"] = row.truncated;
  auto text = [&](const Example& example) {
    return tokenizer ? OrderedJson(tokenizer->decode(example.ids, false)) : OrderedJson();
  };
  if (row.example.ids.empty()) {
    out["text"] = row.text;
  } else if (row.form == Form::kPreference) {
    std::vector<Example> sides = row.example.samples();
    for (size_t i = 0; i < sides.size(); ++i) {
      const std::string side = i == 0 ? "chosen" : "rejected";
      out[side + "_text"] = text(sides[i]);
      out[side + "_input_ids"] = sides[i].ids;
      out[side + "_labels"] = sides[i].labels;
    }
  } else if (row.form == Form::kLabelled) {
    out["text"] = text(row.example);
    out["input_ids"] = row.example.ids;
    out["label"] = row.example.labels.back();
  } else {
    if (tokenizer) out["text"] = text(row.example);
    out["input_ids"] = row.example.ids;
    out["labels"] = row.example.labels;
  }
  return out;
}

void preview(const PreviewFlags& flags, const CLI::App& command) {
  constexpr int64_t kMost = int64_t{1} << 40;
  if (flags.row < 1 || flags.rows < 1 || flags.row > kMost || flags.rows > kMost)
    fail_usage("--row and --rows are numbers from 1");
  DatasetRequest request = flags.words.named(command).training;
  int64_t first = flags.row - 1, end = first + flags.rows, seen = 0;
  // No data set is read further than needed.
  request.max_samples = std::min(request.max_samples.value_or(INT64_MAX), end);
  auto wanted = [&](int64_t row) { return row >= first && row < end; };
  // Far rows take a moment to reach.
  inspect(request, end > 20000 ? "reading" : "", wanted, [&](Record&& record, InspectedRow&& row) {
    int64_t number = first + ++seen;
    if (flags.json) {
      fmt::print("{}\n", row_json(number, record, row, request.tokenizer.get())
                             .dump(-1, ' ', false, OrderedJson::error_handler_t::replace));
      return;
    }
    if (seen > 1) fmt::print("\n");
    print_row(flags, number, record, row, request.tokenizer.get());
  });
  if (seen == 0) fail_usage("--row {}: the data has fewer rows", flags.row);
  if (!flags.json && !request.tokenizer)
    say("Text only; --model DIR [--template NAME] shows it as trained, with tokens.");
}

struct StatsFlags {
  DataWords words;
  std::vector<std::string> validation;
  std::string png;
  bool json = false;
};

void plot_stats(const DatasetStats& stats, const std::string& png) {
  if (stats.lengths.empty()) fail_input("--png: no row can be used, so there is nothing to draw");
  LengthPlot plot{.title = "Length of the rows", .unit = stats.in_tokens ? "tokens" : "characters"};
  // The last bin takes the longest rows; drawn to scale it would be most of the picture.
  double width = static_cast<double>(stats.lengths.front().to - stats.lengths.front().from);
  for (const LengthBin& bin : stats.lengths) {
    plot.edges.push_back(static_cast<double>(bin.from));
    plot.rows.push_back(static_cast<double>(bin.rows));
  }
  plot.edges.push_back(plot.edges.back() + width);
  if (stats.truncated > 0 && static_cast<double>(stats.cutoff_len) <= plot.edges.back()) {
    plot.mark = static_cast<double>(stats.cutoff_len);
    plot.mark_name = "cutoff_len";
  }
  plot_lengths(plot, png);
}

void stats(const StatsFlags& flags, const CLI::App& command) {
  if (!flags.png.empty() && !flags.png.ends_with(".png"))
    fail_usage("--png {}: the picture is a .png file", flags.png);
  DataWords::Named named = flags.words.named(command);
  DatasetRequest& request = named.training;
  if (!flags.validation.empty()) named.validation = flags.validation;
  auto all = [](int64_t) { return true; };
  auto collect = [&](StatsCollector& collector, const std::string& label) {
    inspect(request, label, all,
            [&](Record&& record, InspectedRow&& row) { collector.add(std::move(record), row); });
  };
  StatsCollector training(request);
  collect(training, "reading");
  DatasetStats result = training.stats();
  OrderedJson json = stats_json(result);
  int columns = is_terminal(stdout) ? std::min(120, terminal_columns(stdout)) : 100;
  if (!flags.json) fmt::print("{}", stats_text(result, columns));
  if (!named.validation.empty()) {
    request.datasets = named.validation;
    StatsCollector validation(request, &training);
    collect(validation, "reading validation data");
    DatasetStats other = validation.stats();
    json["validation"] = stats_json(other);
    if (!flags.json)
      fmt::print("\n{}\n{}", styled("Validation data", Style::kBold, stdout), stats_text(other, columns));
  }
  if (flags.json) fmt::print("{}\n", json.dump(2, ' ', false, OrderedJson::error_handler_t::replace));
  if (!flags.png.empty()) {
    plot_stats(training.stats(32), flags.png);
    say("Written: {}", flags.png);
  }
}

void add_preview(CLI::App& data) {
  auto flags = std::make_shared<PreviewFlags>();
  CLI::App& command =
      add_command(data, "preview", "Show rows as they are trained: text, tokens, learned parts, cuts");
  flags->words.declare(command);
  command.add_option("--row", flags->row, "Number of the first row shown, from 1")->type_name("N");
  command.add_option("--rows", flags->rows, "How many rows")->type_name("N");
  command
      .add_option("--tokens", flags->tokens,
                  "List the first N tokens, 0 for none; default: those where training begins and ends")
      ->type_name("N");
  command.add_flag("--json", flags->json, "A JSON object a row, with input_ids and labels");
  command.callback([flags, &command] { preview(*flags, command); });
}

void add_stats(CLI::App& data) {
  auto flags = std::make_shared<StatsFlags>();
  CLI::App& command = add_command(
      data, "stats", "Count lengths, learned tokens, cuts, repeated and broken rows, personal data");
  flags->words.declare(command);
  command
      .add_option(
          "--validation", flags->validation,
          "Validation data, also searched for rows of the training data; default: the run's eval_dataset")
      ->type_name("FILE")
      ->allow_extra_args(false);
  command.add_option("--png", flags->png, "Draw the lengths")->type_name("FILE.png");
  command.add_flag("--json", flags->json, "Print JSON");
  command.callback([flags, &command] { stats(*flags, command); });
}

}  // namespace

void add_data(CLI::App& root) {
  CLI::App& data = add_command(root, "data", "Look at data, convert it, mask personal data", "Prepare data");
  data.require_subcommand(1);
  add_preview(data);
  add_stats(data);
  add_convert(data);
  add_anonymize(data);
}

}  // namespace fettle::app
