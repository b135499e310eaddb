// fettle train: fine-tunes as a YAML file and key=value words say.
#include <charconv>
#include <map>

#include "fettle/app/cli.h"
#include "fettle/app/commands.h"
#include "fettle/app/config_arguments.h"
#include "fettle/base/error.h"
#include "fettle/train/finetune.h"

namespace fettle::app {
namespace {

// "24GB", "24 GiB", "80000000000".
uint64_t parse_size(const std::string& text, const char* option) {
  double number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  std::string unit(end, text.data() + text.size());
  std::erase(unit, ' ');
  const std::map<std::string, double> units = {{"", 1},          {"B", 1},         {"kB", 1e3},
                                               {"MB", 1e6},      {"GB", 1e9},      {"TB", 1e12},
                                               {"MiB", 1 << 20}, {"GiB", 1 << 30}, {"G", 1 << 30}};
  const auto found = units.find(unit);
  if (error != std::errc() || found == units.end() || !(number > 0) || number * found->second > 1e18)
    fail_usage("{}: \"{}\" is no size; write 24GB or 80GiB", option, printable(text, 40));
  return static_cast<uint64_t>(number * found->second);
}

}  // namespace

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

  CLI::App& estimate = add_command(
      root, "estimate", "Say what memory, time and disk a run would take, and what would change it",
      "Train and export");
  auto device = std::make_shared<std::string>();
  estimate
      .add_option("--device-memory", *device, "Also whether it would fit a GPU of this size: 24GB, 80GiB")
      ->type_name("SIZE");
  auto no_time = std::make_shared<bool>(false);
  estimate.add_flag("--no-time", *no_time, "Compute nothing and leave out how long the run takes");
  accept_config(estimate, {OptionGroup::kModel, OptionGroup::kData, OptionGroup::kMethod,
                           OptionGroup::kTraining, OptionGroup::kOptimizer, OptionGroup::kPrecision});
  estimate.callback([device, no_time, &estimate] {
    EstimateOptions options{.device_memory = std::nullopt, .time = !*no_time};
    if (!device->empty()) options.device_memory = parse_size(*device, "--device-memory");
    run_finetuning(read_config(estimate), RunMode::kEstimate, options);
  });
}

}  // namespace fettle::app
