// fettle quantize: a model folder in 4 or 8 bits that Transformers and bitsandbytes load.
#include "fettle/app/cli.h"
#include "fettle/app/commands.h"
#include "fettle/app/config_arguments.h"
#include "fettle/app/session.h"
#include "fettle/base/error.h"
#include "fettle/base/progress.h"
#include "fettle/base/terminal.h"
#include "fettle/models/loader.h"
#include "fettle/models/quantized_files.h"
#include "fettle/models/saver.h"

namespace fettle::app {
namespace {

void run(const CLI::App& command, const std::string& output) {
  Config config = read_config(command);
  config.require("model_name_or_path", "fettle quantize");
  std::filesystem::path base = config.get<std::string>("model_name_or_path");
  QuantizeOptions options = quantize_options(config, 4);
  ModelConfig model_config = read_model_config(base);
  WeightSource source = WeightSource::open_model(base);
  for (const std::string& name : source.names())
    if (is_stored_quantized(source, name)) fail_usage("{}: the model is already quantised", base.string());
  StagedFolder staged(output);
  std::vector<std::string> notes;
  Progress progress("quantize", "B");
  auto update = [&](uint64_t done, uint64_t total) {
    progress.update(static_cast<int64_t>(done), static_cast<int64_t>(total));
  };
  // Quantised from the values that a 16-bit run would compute with, as Transformers does.
  DType compute = model_config.dtype == DType::kF32 ? DType::kF32 : DType::kBF16;
  std::unique_ptr<CausalLM> model =
      load_model(base, {.compute = compute, .quantize = options, .progress = update}, notes);
  progress.finish();
  for (const std::string& note : notes) warn("{}", note);
  uint64_t before = 0, after = 0;
  for (const Parameter* parameter : model->parameters()) {
    before += static_cast<uint64_t>(parameter->numel()) * dtype_size(compute);
    after += parameter->nbytes();
  }
  Progress writing("write", "B");
  save_quantized_model(*model, base, staged.path(), uint64_t{5} << 30, [&](uint64_t done, uint64_t total) {
    writing.update(static_cast<int64_t>(done), static_cast<int64_t>(total));
  });
  writing.finish();
  staged.commit();
  say("{} bits, {}: {} instead of {}", options.bits,
      options.bits == 4 ? quant_kind_name(options.kind) : "int8", format_bytes(after), format_bytes(before));
  say("Quantised model: {}", output);
}

}  // namespace

void add_quantize(CLI::App& root) {
  CLI::App& command =
      add_command(root, "quantize", "Write a model folder in 4 or 8 bits", "Train and export");
  auto output = std::make_shared<std::string>();
  command.add_option("-o,--output", *output, "New model folder")->required()->type_name("DIR");
  accept_config(command, {OptionGroup::kModel, OptionGroup::kQuantization});
  command.callback([&command, output] { run(command, *output); });
}

}  // namespace fettle::app
