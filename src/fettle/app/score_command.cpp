// fettle score: per-token log-probabilities, perplexity and logits of given texts.
#include <cmath>
#include <cstdio>
#include <iostream>
#include <iterator>
#include <nlohmann/json.hpp>

#include "fettle/app/cli.h"
#include "fettle/app/commands.h"
#include "fettle/app/session.h"
#include "fettle/base/error.h"
#include "fettle/base/file.h"
#include "fettle/base/terminal.h"
#include "fettle/formats/safetensors.h"
#include "fettle/infer/score.h"
#include "fettle/kernels/backend.h"

namespace fettle::app {
namespace {

struct Flags {
  ModelFlags model;
  std::string file, text, logits;
  bool no_special = false;
};

struct Row {
  std::string where;
  std::string text;  ///< empty for rows of ids
  std::vector<TokenId> ids;
  bool has_ids = false;
};

Row parse_row(std::string_view line, const std::string& where) {
  Row row{.where = where};
  if (line.front() != '{') {  // plain text, one row a line
    row.text = line;
    return row;
  }
  Json json = parse_json(line, where);
  if (json.contains("input_ids")) {
    if (!json["input_ids"].is_array()) fail_input("{}: input_ids must be a list of token ids", where);
    for (const Json& id : json["input_ids"]) {
      if (!id.is_number_integer() || id.get<double>() < 0 || id.get<double>() > INT32_MAX)
        fail_input("{}: input_ids holds {}, expected token ids", where, printable(id.dump(), 40));
      row.ids.push_back(id.get<TokenId>());
    }
    row.has_ids = true;
  } else if (json.value("text", Json()).is_string()) {
    row.text = json["text"];
  } else {
    fail_input("{}: expected {{\"input_ids\": […]}} or {{\"text\": …}}", where);
  }
  return row;
}

std::vector<Row> read_rows(const Flags& flags) {
  std::vector<Row> rows;
  if (!flags.text.empty()) rows.push_back({.where = "--text", .text = flags.text});
  if (flags.file.empty()) {
    if (rows.empty()) fail_usage("fettle score: give a file of rows, - for standard input, or --text TEXT");
    return rows;
  }
  std::string content =
      flags.file == "-" ? std::string(std::istreambuf_iterator<char>(std::cin), {}) : read_file(flags.file);
  int64_t number = 0;
  for (size_t begin = 0; begin < content.size();) {
    size_t end = std::min(content.find('\n', begin), content.size());
    std::string_view line(content.data() + begin, end - begin);
    begin = end + 1;
    ++number;
    if (!line.empty() && line.back() == '\r') line.remove_suffix(1);
    if (line.find_first_not_of(" \t") != line.npos)
      rows.push_back(parse_row(line, fmt::format("{}:{}", flags.file, number)));
  }
  if (rows.empty()) fail_input("{}: no rows", flags.file);
  return rows;
}

void run(const Flags& flags, const CLI::App& command) {
  std::vector<Row> rows = read_rows(flags);
  bool needs_tokenizer = false;
  for (const Row& row : rows) needs_tokenizer = needs_tokenizer || !row.has_ids;
  Session session = open_session(flags.model.config(command, "fettle score"), needs_tokenizer);
  std::map<std::string, Tensor> logits;
  Score total;
  for (size_t i = 0; i < rows.size(); ++i) {
    Row& row = rows[i];
    if (!row.has_ids) row.ids = session.tokenizer->encode(row.text, !flags.no_special);
    std::vector<float> scores =
        token_log_probabilities(*session.model, cpu_backend(), session.compute, row.ids);
    if (!flags.logits.empty())
      logits[std::to_string(i)] = all_logits(*session.model, cpu_backend(), session.compute, row.ids);
    Score score;
    score.add(scores);
    total.add(scores);
    OrderedJson line = {
        {"index", i}, {"tokens", row.ids.size()}, {"input_ids", row.ids}, {"log_probabilities", scores}};
    line["perplexity"] = score.tokens > 0 ? OrderedJson(score.perplexity()) : OrderedJson();
    fmt::print("{}\n", line.dump());
  }
  if (!flags.logits.empty()) write_safetensors(flags.logits, logits, {{"format", "pt"}});
  say("{} rows, {} scored tokens, perplexity {:.4f}", rows.size(), total.tokens, total.perplexity());
}

}  // namespace

void add_score(CLI::App& root) {
  CLI::App& command =
      add_command(root, "score", "Log-probabilities and perplexity of texts or token ids", "Use a model");
  auto flags = std::make_shared<Flags>();
  flags->model.declare(command, false);
  command.add_option("file", flags->file,
                     "Rows: {\"input_ids\"}, {\"text\"} or plain text, one a line; - reads standard input");
  command.add_option("--text", flags->text, "Score this text")->type_name("TEXT");
  command.add_option("--logits", flags->logits, "Write f32 logits, one tensor a row named by its index")
      ->type_name("FILE.safetensors");
  command.add_flag("--no-special", flags->no_special, "Do not add the tokenizer's special tokens to texts");
  command.callback([flags, &command] { run(*flags, command); });
}

}  // namespace fettle::app
