// fettle train: fine-tunes as a YAML file and key=value words say.
#include "fettle/app/cli.h"
#include "fettle/app/commands.h"
#include "fettle/app/config_arguments.h"
#include "fettle/train/finetune.h"

namespace fettle::app {

void add_train(CLI::App& root) {
  CLI::App& command = add_command(root, "train", "Fine-tune a model", "Train and export");
  auto dry_run = std::make_shared<bool>(false);
  command.add_flag("--dry-run", *dry_run, "Say what would happen, then stop");
  auto profile = std::make_shared<bool>(false);
  command.add_flag("--profile", *profile, "Train three steps and say where their time went");
  accept_config(command, {OptionGroup::kModel, OptionGroup::kData, OptionGroup::kMethod,
                          OptionGroup::kTraining, OptionGroup::kOptimizer, OptionGroup::kPrecision,
                          OptionGroup::kLogging, OptionGroup::kSaving, OptionGroup::kSystem});
  command.callback([dry_run, profile, &command] {
    Config config = read_config(command);
    // LLaMA-Factory's files for evaluation have no do_train.
    const bool only_evaluates =
        (config.get<bool>("do_eval") || config.get<bool>("do_predict")) && !config.is_set("dataset");
    if (only_evaluates)
      evaluate(config);
    else
      run_finetuning(config, *dry_run ? RunMode::kDryRun : *profile ? RunMode::kProfile : RunMode::kTrain);
  });

  CLI::App& estimate =
      add_command(root, "estimate", "Say what memory and disk a run would take, and what would change it",
                  "Train and export");
  accept_config(estimate, {OptionGroup::kModel, OptionGroup::kData, OptionGroup::kMethod,
                           OptionGroup::kTraining, OptionGroup::kOptimizer, OptionGroup::kPrecision});
  estimate.callback([&estimate] { run_finetuning(read_config(estimate), RunMode::kEstimate); });
}

}  // namespace fettle::app
