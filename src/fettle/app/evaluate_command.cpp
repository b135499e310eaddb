// fettle evaluate: loss, perplexity, accuracy and answers on data that a model did not learn.
#include "fettle/app/cli.h"
#include "fettle/app/commands.h"
#include "fettle/app/config_arguments.h"
#include "fettle/app/session.h"
#include "fettle/base/progress.h"
#include "fettle/base/terminal.h"
#include "fettle/train/run_callbacks.h"
#include "fettle/train/run_data.h"

namespace fettle::app {

void evaluate(const Config& config) {
  config.require("model_name_or_path", "fettle evaluate");
  const std::filesystem::path output = config.get<std::optional<std::string>>("output_dir").value_or("");
  Session session = open_session(config, false);
  RunData data = read_evaluation_data(config, session.model->config().vocab_size, output);
  EvaluationOptions options = evaluation_options(config, data, output);
  if (output.empty()) options.predictions.clear();
  Evaluator evaluator(*session.model, cpu_backend(), evaluation_dtype(config, session.compute),
                      std::move(data.evaluation), options);
  std::optional<Progress> progress;
  std::vector<EvalRecord> records = evaluator.run(0, 0, [&](int64_t done, int64_t total) {
    if (!progress) progress.emplace("answer", "row");
    progress->update(done, total);
  });
  if (progress) progress->finish();
  Table table({"data", "rows", "metric", ""}, {Align::kLeft, Align::kRight, Align::kLeft, Align::kRight});
  for (const EvalRecord& record : records)
    for (const auto& [metric, value] : record.metrics)
      table.add_row({record.name.empty() ? "all" : record.name, format_count(record.samples), metric,
                     fmt::format("{:.4f}", value)});
  fmt::print("{}\n", table.text());
  if (output.empty()) return;
  std::filesystem::create_directories(output);
  write_metrics(output, config.get<bool>("do_predict") ? "predict" : "eval", records);
  if (!options.predictions.empty() && options.predict_with_generate)
    say("Answers:  {}", options.predictions.string());
}

void add_evaluate(CLI::App& root) {
  CLI::App& command = add_command(root, "evaluate", "Measure a model or adapter on data", "Train and export");
  accept_config(
      command, {OptionGroup::kModel, OptionGroup::kData, OptionGroup::kEvaluation, OptionGroup::kGeneration});
  command.callback([&command] { evaluate(read_config(command)); });
}

}  // namespace fettle::app
