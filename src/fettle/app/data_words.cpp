#include "fettle/app/data_words.h"

#include "fettle/app/config_arguments.h"
#include "fettle/base/error.h"
#include "fettle/base/terminal.h"
#include "fettle/base/threads.h"
#include "fettle/data/request.h"

namespace fettle::app {
namespace {

struct Words {
  std::vector<std::string> config, files;
};

bool is_configuration(const std::string& word) {
  return word.ends_with(".yaml") || word.ends_with(".yml");
}

// A word is a data file unless it is an option, the value of one, or a YAML file.
Words sort_words(const std::vector<std::string>& words) {
  Words out;
  for (size_t i = 0; i < words.size(); ++i) {
    const std::string& word = words[i];
    size_t equals = word.find('=');
    bool option = word.starts_with("--");
    bool assignment = !option && equals != word.npos && find_option(word.substr(0, equals)) != nullptr;
    bool file = !option && !assignment && !is_configuration(word) && !(word.size() > 1 && word[0] == '-');
    (file ? out.files : out.config).push_back(word);
    const Option* known = option && equals == word.npos ? find_option(word.substr(2)) : nullptr;
    bool takes_next = word == "--set" || (known && known->type != OptionType::kBool);
    if (takes_next && i + 1 < words.size()) out.config.push_back(words[++i]);
  }
  return out;
}

}  // namespace

void DataWords::declare(CLI::App& command) {
  command.add_option("-m,--model", model_, "Folder with the tokenizer; default: the run's model, if any")
      ->type_name("DIR");
  command
      .add_option("-t,--template", template_,
                  "Chat template by name; default: the run's, else the model's own")
      ->type_name("NAME");
  accept_config(command, {OptionGroup::kData});
  set_usage_words(command, "[run.yaml | FILE …] [key=value …]");
}

DataWords::Named DataWords::named(const CLI::App& command) const {
  Words words = sort_words(command.remaining());
  ConfigArguments arguments = parse_config_arguments(words.config);
  if (!model_.empty()) arguments.overrides.push_back({"model_name_or_path", model_});
  if (!template_.empty()) arguments.overrides.push_back({"template", template_});
  Config config = load_config(arguments);
  for (const std::string& note : config.notes()) say("note: {}", note);
  if (std::optional<int> threads = config.get<std::optional<int>>("threads")) set_thread_count(*threads);
  using Text = std::optional<std::string>;
  if (config.get<Text>("template") && !config.get<Text>("model_name_or_path"))
    fail_usage("template {} needs the tokenizer of a model; add --model DIR", *config.get<Text>("template"));
  if (words.files.empty() && !config.is_set("dataset"))
    fail_usage("fettle {} {}: name a data file, or a run.yaml with a dataset",
               command.get_parent()->get_name(), command.get_name());
  if (Text model = config.get<Text>("model_name_or_path"); model && !std::filesystem::exists(*model))
    fail_input("{}: no such model folder", *model);
  if (!words.files.empty()) config.set("dataset", "-", {OriginKind::kCommandLine, "command line"});
  DatasetRequest request = dataset_request(config, 0);
  if (Text model = config.get<Text>("model_name_or_path"); model && !request.tokenizer)
    warn("{}: the folder has no tokenizer, so there are no tokens to show", *model);
  if (!words.files.empty()) request.datasets = words.files;  // as they are: a file name may hold a comma
  Named named{std::move(request), {}};
  if (words.files.empty()) named.validation = config.get<std::vector<std::string>>("eval_dataset");
  return named;
}

}  // namespace fettle::app
