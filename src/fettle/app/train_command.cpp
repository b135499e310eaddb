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
  accept_config(command, {OptionGroup::kModel, OptionGroup::kData, OptionGroup::kMethod,
                          OptionGroup::kTraining, OptionGroup::kOptimizer, OptionGroup::kPrecision,
                          OptionGroup::kLogging, OptionGroup::kSaving, OptionGroup::kSystem});
  command.callback([dry_run, &command] { run_finetuning(read_config(command), *dry_run); });
}

}  // namespace fettle::app
