#include "fettle/train/run_data.h"

#include <set>

#include "fettle/base/error.h"
#include "fettle/base/progress.h"
#include "fettle/base/terminal.h"
#include "fettle/data/request.h"
#include "fettle/infer/generation_config.h"

namespace fettle {
namespace fs = std::filesystem;
namespace {

using Names = std::vector<std::string>;

// Where encoded rows are kept, when not in memory.
void keep_rows_in_files(const Config& config, const fs::path& output, const std::string& part,
                        DatasetRequest& request) {
  if (auto folder = config.get<std::optional<std::string>>("tokenized_path"))
    request.files = fs::path(*folder) / part;
  else if (config.get<bool>("streaming"))
    request.files = output / (".rows-" + part);
  request.keep_files = config.is_set("tokenized_path");
  request.overwrite_files = config.get<bool>("overwrite_cache");
}

Dataset load(const Config& config, const fs::path& output, const std::string& part, DatasetRequest request) {
  Progress progress(part == "train" ? "tokenize" : "tokenize eval", "row");
  request.progress = [&](int64_t done, int64_t total) { progress.update(done, total); };
  keep_rows_in_files(config, output, part, request);
  Dataset data = load_dataset(request);
  progress.finish();
  return data;
}

// A name that can stand in the name of a metric and of a folder.
std::string set_name(const std::string& dataset, std::set<std::string>& taken) {
  std::string name = fs::path(dataset).stem().string();
  for (char& c : name)
    if (!std::isalnum(static_cast<unsigned char>(c)) && static_cast<unsigned char>(c) < 0x80) c = '_';
  if (name.empty()) name = "set";
  std::string unique = name;
  for (int i = 2; !taken.insert(unique).second; ++i) unique = fmt::format("{}_{}", name, i);
  return unique;
}

void load_evaluation_sets(const Config& config, const fs::path& output, const DatasetRequest& training,
                          const Names& names, RunData& data) {
  DatasetRequest request = training;
  request.packing = request.stage == "sft" ? std::optional<bool>(false) : request.packing;
  request.mix_strategy = MixStrategy::kConcat;
  request.interleave_probs.clear();
  const bool apart = config.get<bool>("eval_on_each_dataset") && names.size() > 1;
  std::set<std::string> taken;
  for (size_t i = 0; i < (apart ? names.size() : 1); ++i) {
    request.datasets = apart ? Names{names[i]} : names;
    const std::string name = apart ? set_name(names[i], taken) : "";
    Dataset set = load(config, output, name.empty() ? "eval" : "eval-" + name, request);
    for (const std::string& note : set.notes) warn("eval_dataset: {}", note);
    data.evaluation.push_back({name, std::move(set.examples)});
  }
}

void tell_notices(const RunData& data) {
  if (!data.chat) return;
  for (const std::string& notice : data.chat->notices()) warn("{}", notice);
}

}  // namespace

RunData read_run_data(const Config& config, int64_t vocab_size, const fs::path& output) {
  DatasetRequest request = dataset_request(config, vocab_size);
  RunData data{.tokenizer = request.tokenizer, .chat = request.chat, .training = {}, .evaluation = {}};
  data.training = load(config, output, "train", request);

  const Names names = config.get<Names>("eval_dataset");
  const double val_size = config.get<double>("val_size");
  const bool evaluates = config.get<std::string>("eval_strategy") != "no" || config.get<bool>("do_eval") ||
                         config.get<bool>("do_predict");
  if (!names.empty() && val_size > 0) fail_usage("val_size and eval_dataset: give one of the two");
  if (evaluates && names.empty() && val_size <= 0)
    fail_usage("eval_strategy {}: nothing to evaluate on; set val_size (0.1) or eval_dataset",
               config.get<std::string>("eval_strategy"));
  if (val_size > 0)
    data.evaluation.push_back({"", split_validation(data.training, val_size, request.seed).examples});
  else if (!names.empty())
    load_evaluation_sets(config, output, request, names, data);
  if (!data.evaluation.empty() && !evaluates)
    warn("{} examples are kept for evaluation, but eval_strategy is no; set it to steps or epoch",
         data.evaluation.front().examples.size());

  if (request.stage == "sft" && request.packing.value_or(false)) pack_rows(data.training, request.cutoff_len);
  for (const std::string& note : data.training.notes) warn("{}", note);
  tell_notices(data);
  return data;
}

RunData read_evaluation_data(const Config& config, int64_t vocab_size, const fs::path& output) {
  DatasetRequest request = dataset_request(config, vocab_size);
  RunData data{.tokenizer = request.tokenizer, .chat = request.chat, .training = {}, .evaluation = {}};
  Names names = config.get<Names>("eval_dataset");
  if (names.empty()) names = config.get<Names>("dataset");
  if (names.empty()) fail_usage("eval_dataset: name the data to evaluate on");
  load_evaluation_sets(config, output, request, names, data);
  tell_notices(data);
  return data;
}

DType evaluation_dtype(const Config& config, DType compute) {
  return config.get<bool>("bf16_full_eval")   ? DType::kBF16
         : config.get<bool>("fp16_full_eval") ? DType::kF16
                                              : compute;
}

EvaluationOptions evaluation_options(const Config& config, const RunData& data, const fs::path& output) {
  EvaluationOptions options{
      .batch_size = config.get<int64_t>("per_device_eval_batch_size"),
      .loss = {.label_smoothing = static_cast<float>(config.get<double>("label_smoothing_factor")),
               .dft = config.get<bool>("use_dft_loss")},
      .compute_accuracy = config.get<bool>("compute_accuracy"),
      .predict_with_generate = config.get<bool>("predict_with_generate"),
      .generation = {},
      .tokenizer = data.tokenizer,
      .predictions = output / "generated_predictions.jsonl"};
  if (!options.predict_with_generate) return options;
  options.generation = generation_options(config);
  if (data.chat) options.generation.stop_ids = data.chat->stop_ids();
  if (data.tokenizer)
    if (std::optional<TokenId> eos = data.tokenizer->eos_id()) options.generation.stop_ids.push_back(*eos);
  return options;
}

}  // namespace fettle
