#include "fettle/data/request.h"

#include <charconv>

#include "fettle/base/error.h"

namespace fettle {
namespace fs = std::filesystem;
namespace {

using Text = std::optional<std::string>;

bool has_tokenizer(const fs::path& folder) {
  for (const char* name : {"tokenizer.json", "tokenizer.model", "spiece.model", "vocab.json", "vocab.txt"})
    if (fs::exists(folder / name)) return true;
  return false;
}

}  // namespace

DatasetRequest dataset_request(const Config& config, int64_t vocab_size) {
  DatasetRequest request;
  fs::path base = config.get<Text>("model_name_or_path").value_or("");
  std::string name = config.get<Text>("template").value_or("");
  request.stage = config.get<std::string>("stage");
  if (!base.empty() && has_tokenizer(base)) {
    request.tokenizer = load_tokenizer(base);
    if (vocab_size > 0 && request.tokenizer->vocab_size() > vocab_size)
      fail_input(
          "{}: the tokenizer has {} tokens but the model's vocab_size is {}; is this the model's own "
          "tokenizer?",
          base.string(), request.tokenizer->vocab_size(), vocab_size);
  }
  if (request.tokenizer && request.stage == "sft" &&
      (!name.empty() || !request.tokenizer->chat_template().empty())) {
    ChatTemplateOptions options;
    options.enable_thinking = config.get<std::optional<bool>>("enable_thinking");
    options.mask_history = config.get<bool>("mask_history");
    options.literal_content = config.get<bool>("split_special_tokens");
    options.preserve_thinking = config.get<bool>("preserve_thinking");
    options.default_system = config.get<Text>("default_system");
    options.tool_format = config.get<Text>("tool_format").value_or("");
    request.chat = make_chat_template(name, request.tokenizer, options);
    request.template_options =
        fmt::format("{} {} {} {} {}", options.enable_thinking.value_or(true), options.preserve_thinking,
                    options.literal_content, options.tool_format, options.default_system.value_or(""));
  } else if (!name.empty() && request.stage == "sft" && !request.tokenizer) {
    fail_input("{}: no tokenizer, which template {} needs", base.string(), name);
  }
  request.datasets = config.get<std::vector<std::string>>("dataset");
  request.dataset_dir = config.get<std::string>("dataset_dir");
  request.cutoff_len = config.get<int64_t>("cutoff_len");
  request.truncation = parse_truncation(config.get<Text>("truncation_mode"));
  if (request.truncation == Truncation::kEnd && request.stage == "pt")
    fail_usage("truncation_mode keep_end: stage pt keeps the start of a text; leave the option out");
  request.max_samples = config.get<std::optional<int64_t>>("max_samples");
  request.train_on_prompt = config.get<bool>("train_on_prompt");
  request.mask_history = config.get<bool>("mask_history");
  request.default_system = config.get<Text>("default_system").value_or("");
  if (Text pattern = config.get<Text>("prompt_pattern"))
    request.pattern = std::make_shared<PromptPattern>(
        *pattern, config.get<Text>("prompt_pattern_trained_from").value_or(""));
  request.packing = config.get<std::optional<bool>>("packing");
  if (config.get<bool>("neat_packing")) request.packing = true;
  request.mix_strategy = parse_mix_strategy(config.get<std::string>("mix_strategy"));
  for (const std::string& share : config.get<std::vector<std::string>>("interleave_probs")) {
    double value = 0;
    auto [end, error] = std::from_chars(share.data(), share.data() + share.size(), value);
    if (error != std::errc() || end != share.data() + share.size())
      fail_usage("interleave_probs: {}, expected numbers", printable(share));
    request.interleave_probs.push_back(value);
  }
  request.vocab_size = vocab_size > 0 ? vocab_size : request.tokenizer ? request.tokenizer->vocab_size() : 0;
  request.seed = static_cast<uint64_t>(config.get<int64_t>("seed"));
  return request;
}

}  // namespace fettle
