// fettle init-model: a folder with random weights from a config.json, for benchmarks and for training from
// scratch.
#include "fettle/app/cli.h"
#include "fettle/app/commands.h"
#include "fettle/base/error.h"
#include "fettle/base/progress.h"
#include "fettle/base/terminal.h"
#include "fettle/models/loader.h"

namespace fettle::app {

void add_init_model(CLI::App& root) {
  CLI::App& command = add_command(
      root, "init-model", "Make a model folder with random weights from a config.json", "Train and export");
  struct Flags {
    std::string config, output, dtype = "bf16";
    uint64_t seed = 42;
  };
  auto flags = std::make_shared<Flags>();
  command.add_option("config", flags->config, "config.json, or the folder that holds it")->required();
  command.add_option("output", flags->output, "New model folder")->required();
  command.add_option("--dtype", flags->dtype, "Stored type: f32, bf16 or f16 (default bf16)")
      ->type_name("TYPE");
  command.add_option("--seed", flags->seed, "Seed of the weights (default 42)")->type_name("N");
  command.callback([flags] {
    std::optional<DType> dtype = parse_dtype(flags->dtype);
    if (!dtype || !is_floating(*dtype) || *dtype == DType::kF64)
      fail_usage("--dtype {}: expected f32, bf16 or f16", printable(flags->dtype));
    Progress progress("weights", "B");
    write_random_model(flags->config, flags->output, flags->seed, *dtype, [&](uint64_t done, uint64_t total) {
      progress.update(static_cast<int64_t>(done), static_cast<int64_t>(total));
    });
    progress.finish();
    say("Random model: {}", flags->output);
  });
}

}  // namespace fettle::app
