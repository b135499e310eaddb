// fettle adapter: what is in adapters, and new ones out of old.
#include <algorithm>
#include <cmath>
#include <map>
#include <nlohmann/json.hpp>

#include "fettle/app/adapter_report.h"
#include "fettle/app/cli.h"
#include "fettle/app/commands.h"
#include "fettle/app/merge_report.h"
#include "fettle/app/session.h"
#include "fettle/base/error.h"
#include "fettle/base/progress.h"
#include "fettle/base/terminal.h"
#include "fettle/models/saver.h"
#include "fettle/peft/combine.h"
#include "fettle/peft/convert.h"

namespace fettle::app {
namespace {

constexpr uint64_t kShardBytes = uint64_t{5} << 30;

DType stored_dtype(const std::string& name) {
  std::optional<DType> dtype = parse_dtype(name);
  if (!dtype || (*dtype != DType::kF32 && *dtype != DType::kF16 && *dtype != DType::kBF16))
    fail_usage("--dtype {}: expected f32, f16 or bf16", printable(name));
  return *dtype;
}

// A new adapter folder, whole or absent.
void write_adapter(const LoraFolder& lora, const std::string& output, DType dtype) {
  StagedFolder staged(output);
  write_lora_folder(lora, staged.path(), dtype);
  staged.commit();
  int64_t parameters = 0, most = 0;
  for (const LoraPair& pair : lora.pairs) {
    parameters += pair.a.numel() + pair.b.numel();
    most = std::max(most, pair.rank());
  }
  say("LoRA of rank {} on {} modules, {} parameters: {}", most, lora.pairs.size(), format_count(parameters),
      output);
}

void add_info(CLI::App& parent) {
  CLI::App& command = add_command(parent, "info", "What is in an adapter folder");
  auto folder = std::make_shared<std::string>();
  auto json = std::make_shared<bool>(false);
  command.add_option("adapter", *folder, "Adapter folder")->required()->type_name("DIR");
  command.add_flag("--json", *json, "As one JSON object");
  command.callback([folder, json] { print_adapter_info(*folder, *json); });
}

void add_diff(CLI::App& parent) {
  CLI::App& command = add_command(parent, "diff", "Compare two adapters; exit status 1 when they differ");
  auto folders = std::make_shared<std::vector<std::string>>();
  command.add_option("adapters", *folders, "Two adapter folders")->required()->expected(2)->type_name("A B");
  command.callback([folders] {
    if (!print_adapter_difference(folders->at(0), folders->at(1))) throw ExitStatus{1};
  });
}

struct MergeFlags {
  ModelFlags model;
  std::string output;
  bool dequantize = false;
};

void add_merge(CLI::App& parent) {
  CLI::App& command = add_command(parent, "merge", "Merge one or several adapters into their base model");
  auto flags = std::make_shared<MergeFlags>();
  flags->model.declare(command, false);
  command.add_option("-o,--output", flags->output, "New model folder")->required()->type_name("DIR");
  command.add_flag("--dequantize", flags->dequantize, "Turn a quantised base into 16-bit weights first");
  command.callback([flags, &command] {
    Config config = flags->model.config(command, "fettle adapter merge");
    config.require("adapter_name_or_path", "fettle adapter merge");
    Session session = open_session(config, false);
    merge_and_report(session, config.get<std::string>("model_name_or_path"), flags->output, kShardBytes,
                     flags->dequantize);
    say("Merged model: {}", flags->output);
  });
}

struct CombineFlags {
  std::vector<std::string> adapters;
  std::string output, dtype = "f32", majority = "total";
  CombineOptions options;
};

void add_combine(CLI::App& parent) {
  CLI::App& command = add_command(parent, "combine", "One LoRA out of several (PEFT's add_weighted_adapter)");
  auto flags = std::make_shared<CombineFlags>();
  command.add_option("adapters", flags->adapters, "LoRA adapter folders")->required()->type_name("DIR …");
  command
      .add_option("-w,--weight", flags->options.weights,
                  "Weight of an adapter, in their order; default: 1 each")
      ->type_name("W")
      ->allow_extra_args(false);
  command
      .add_option("-m,--method", flags->options.method,
                  fmt::format("How: {} (default svd)", fmt::join(combine_methods(), ", ")))
      ->type_name("NAME");
  command.add_option("-r,--rank", flags->options.svd_rank, "Rank of the svd methods; default: the largest")
      ->type_name("R")
      ->check(CLI::Range(1, 65536));
  command
      .add_option("--density", flags->options.density,
                  "Share of values that ties, dare and magnitude_prune keep")
      ->type_name("D")
      ->check(CLI::Range(0.0, 1.0));
  command.add_option("--majority-sign", flags->majority, "total or frequency: how ties elects a sign")
      ->check(CLI::IsMember({"total", "frequency"}));
  command.add_option("--seed", flags->options.seed, "Seed of the dare methods");
  command.add_option("--dtype", flags->dtype, "Stored type: f32, f16 or bf16")->type_name("TYPE");
  command.add_option("-o,--output", flags->output, "New adapter folder")->required()->type_name("DIR");
  command.callback([flags] {
    DType dtype = stored_dtype(flags->dtype);
    std::vector<LoraFolder> adapters;
    for (const std::string& folder : flags->adapters) adapters.push_back(read_lora_folder(folder));
    if (flags->options.weights.empty()) flags->options.weights.assign(adapters.size(), 1.0);
    flags->options.by_frequency = flags->majority == "frequency";
    write_adapter(combine_adapters(adapters, flags->options), flags->output, dtype);
  });
}

struct ExtractFlags {
  std::string base, tuned, output, dtype = "f32";
  int64_t rank = 16;
  std::vector<std::string> targets;
};

void add_extract(CLI::App& parent) {
  CLI::App& command =
      add_command(parent, "extract", "A LoRA out of the difference between a fine-tuned model and its base");
  auto flags = std::make_shared<ExtractFlags>();
  command.add_option("-m,--model", flags->base, "Folder of the base model")->required()->type_name("DIR");
  command.add_option("--tuned", flags->tuned, "Folder of the fine-tuned model")->required()->type_name("DIR");
  command.add_option("-r,--rank", flags->rank, "Rank (default 16)")
      ->type_name("R")
      ->check(CLI::Range(1, 65536));
  command
      .add_option("--target", flags->targets,
                  "Only modules with these names; default: every linear but the head")
      ->type_name("NAME")
      ->allow_extra_args(false);
  command.add_option("--dtype", flags->dtype, "Stored type: f32, f16 or bf16")->type_name("TYPE");
  command.add_option("-o,--output", flags->output, "New adapter folder")->required()->type_name("DIR");
  command.callback([flags] {
    DType dtype = stored_dtype(flags->dtype);
    Progress progress("extract", "module");
    Extraction extraction = extract_lora(flags->base, flags->tuned, flags->rank, flags->targets,
                                         [&](int64_t done, int64_t total) { progress.update(done, total); });
    progress.finish();
    write_adapter(extraction.lora, flags->output, dtype);
    say("The difference lies to {:.2f}% in these {} directions (share of its squared norm); worst module "
        "{:.2f}%: {}",
        100 * extraction.kept, flags->rank, 100 * extraction.worst, extraction.worst_module);
    for (const std::string& name : extraction.left_out)
      warn("\"{}\" differs as well and is no part of the adapter", name);
  });
}

struct ConvertFlags {
  std::string adapter, base, output, dtype = "f32";
  int64_t rank = 0;
};

void add_convert(CLI::App& parent) {
  CLI::App& command =
      add_command(parent, "convert",
                  "Any adapter on linears as a plain LoRA: rsLoRA, patterns, PiSSA, DoRA, LoHa, OFT, IA3 …");
  auto flags = std::make_shared<ConvertFlags>();
  command.add_option("adapter", flags->adapter, "Adapter folder")->required()->type_name("DIR");
  command.add_option("-m,--model", flags->base, "Its base model; not needed for what is a LoRA already")
      ->type_name("DIR");
  command
      .add_option("-r,--rank", flags->rank,
                  "Rank of the result; default: the adapter's own, which is exact for the LoRA family")
      ->type_name("R")
      ->check(CLI::Range(1, 65536));
  command.add_option("--dtype", flags->dtype, "Stored type: f32, f16 or bf16")->type_name("TYPE");
  command.add_option("-o,--output", flags->output, "New adapter folder")->required()->type_name("DIR");
  command.callback([flags] {
    DType dtype = stored_dtype(flags->dtype);
    Extraction extraction = convert_to_lora(flags->adapter, flags->base, flags->rank);
    write_adapter(extraction.lora, flags->output, dtype);
    if (extraction.kept < 1)
      say("Kept {:.2f}% of the change (share of its squared norm); worst module {:.2f}%: {}",
          100 * extraction.kept, 100 * extraction.worst, extraction.worst_module);
  });
}

}  // namespace

void add_adapter(CLI::App& root) {
  CLI::App& command =
      add_command(root, "adapter", "Look into, merge, combine and convert adapters", "Train and export");
  command.require_subcommand(1);
  add_info(command);
  add_merge(command);
  add_combine(command);
  add_extract(command);
  add_convert(command);
  add_diff(command);
}

}  // namespace fettle::app
