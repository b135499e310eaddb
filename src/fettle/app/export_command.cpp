// fettle export: merges adapters into a full Hugging Face folder and says how far the merged model's answers
// stray.
#include <cmath>

#include "fettle/app/cli.h"
#include "fettle/app/commands.h"
#include "fettle/app/config_arguments.h"
#include "fettle/app/session.h"
#include "fettle/base/error.h"
#include "fettle/base/progress.h"
#include "fettle/base/random.h"
#include "fettle/base/terminal.h"
#include "fettle/kernels/backend.h"
#include "fettle/peft/merge.h"

namespace fettle::app {
namespace {

// Any ids do: the two models are compared with each other, not with a text.
std::vector<int32_t> probe_ids(int64_t vocab_size) {
  RandomStream stream({0, RandomUse::kSynthetic, 0, 0});
  std::vector<int32_t> ids;
  for (int i = 0; i < 48; ++i)
    ids.push_back(static_cast<int32_t>(stream.below(static_cast<uint64_t>(vocab_size))));
  return ids;
}

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
  for (const auto& adapter : session.adapters)
    if (std::string why = adapter->why_not_mergeable(); !why.empty())
      fail_usage("{}: {}", adapter->description(), why);
  Progress progress("merge", "B");
  uint64_t shard = static_cast<uint64_t>(config.get<int64_t>("export_size")) * 1000000000u;
  merge_to_folder(
      *session.model, base, output, shard,
      [&](uint64_t done, uint64_t total) {
        progress.update(static_cast<int64_t>(done), static_cast<int64_t>(total));
      },
      config.get<bool>("export_dequantize"));
  progress.finish();

  std::vector<int32_t> ids = probe_ids(session.model->config().vocab_size);
  std::vector<std::string> notes;
  std::unique_ptr<CausalLM> merged =
      load_model(output, {.compute = DType::kF32, .trainable_base = false, .progress = {}}, notes);
  Tensor with_adapter = all_logits(*session.model, cpu_backend(), DType::kF32, ids);
  Tensor after = all_logits(*merged, cpu_backend(), DType::kF32, ids);
  double most = 0, largest = 0;
  for (int64_t i = 0; i < after.numel(); ++i) {
    most =
        std::max(most, static_cast<double>(std::abs(after.data<float>()[i] - with_adapter.data<float>()[i])));
    largest = std::max(largest, static_cast<double>(std::abs(with_adapter.data<float>()[i])));
  }
  say("Largest logit difference, adapter mounted and merged: {:.3g} (largest logit {:.3g}, weights stored as "
      "{})",
      most, largest, dtype_name(session.model->config().dtype));
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
