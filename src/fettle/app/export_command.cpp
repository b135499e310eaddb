// fettle export: merges adapters into a full Hugging Face folder and says how far the merged model's answers
// stray.
#include "fettle/app/cli.h"
#include "fettle/app/commands.h"
#include "fettle/app/config_arguments.h"
#include "fettle/app/merge_report.h"
#include "fettle/app/session.h"
#include "fettle/base/error.h"
#include "fettle/base/terminal.h"

namespace fettle::app {
namespace {

void run(const CLI::App& command) {
  Config config = read_config(command);
  for (const char* name : {"model_name_or_path", "adapter_name_or_path", "export_dir"})
    config.require(name, "fettle export");
  std::filesystem::path base = config.get<std::string>("model_name_or_path"),
                        output = config.get<std::string>("export_dir");
  std::error_code ignored;
  if (std::filesystem::exists(output) && std::filesystem::equivalent(base, output, ignored))
    fail_usage("export_dir {} is the base model's own folder; name another one", output.string());
  Session session = open_session(config, false);
  merge_and_report(session, base, output,
                   static_cast<uint64_t>(config.get<int64_t>("export_size")) * 1000000000u,
                   config.get<bool>("export_dequantize"));
  say("Merged model: {}", output.string());
  say("Talk to it:   fettle chat --model {}", output.string());
}

}  // namespace

void add_export(CLI::App& root) {
  CLI::App& command =
      add_command(root, "export", "Merge adapters into a full model folder", "Train and export");
  accept_config(command, {OptionGroup::kModel, OptionGroup::kExport});
  command.callback([&command] { run(command); });
}

}  // namespace fettle::app
