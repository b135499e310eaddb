#include "fettle/app/session.h"

#include <algorithm>
#include <charconv>
#include <cmath>

#include "fettle/base/error.h"
#include "fettle/base/progress.h"
#include "fettle/base/terminal.h"
#include "fettle/base/threads.h"
#include "fettle/kernels/backend.h"

namespace fettle::app {

void ModelFlags::declare(CLI::App& command, bool with_template) {
  command.add_option("-m,--model", model_, "Folder of the model")->type_name("DIR");
  command.add_option("-a,--adapter", adapters_, "Folder of an adapter; may be repeated, all are active")
      ->type_name("DIR")
      ->allow_extra_args(false);
  command
      .add_option("--adapter-weight", weights_, "Weight of an adapter, in the order of --adapter; default 1")
      ->type_name("W")
      ->allow_extra_args(false);
  if (with_template)
    command.add_option("-t,--template", template_, "Chat template by name; default: the model's own")
        ->type_name("NAME");
  command.add_option("--dtype", dtype_, "Computation: auto, f32 or bf16")->type_name("TYPE");
  command.add_option("--threads", threads_, "Threads; default: all cores")->type_name("N");
  command.allow_extras();
  command.footer("Options of a run can follow too: [run.yaml] [key=value …]; see fettle config keys");
}

Config ModelFlags::config(const CLI::App& command, const std::string& who) const {
  ConfigArguments arguments = parse_config_arguments(command.remaining());
  auto add = [&](const char* key, const std::string& value) {
    if (!value.empty()) arguments.overrides.push_back({key, value});
  };
  add("model_name_or_path", model_);
  add("adapter_name_or_path", fmt::format("{}", fmt::join(adapters_, ",")));
  add("adapter_weights", fmt::format("{}", fmt::join(weights_, ",")));
  add("template", template_);
  add("infer_dtype", dtype_);
  if (threads_ > 0) add("threads", std::to_string(threads_));
  Config config = load_config(arguments);
  config.require("model_name_or_path", who);
  if (std::optional<int64_t> threads = config.get<std::optional<int64_t>>("threads"))
    set_thread_count(static_cast<int>(*threads));
  return config;
}

DType inference_dtype(const Config& config, const ModelConfig& model) {
  std::string wanted = config.get<std::string>("infer_dtype");
  if (wanted == "auto")
    return model.dtype != DType::kF32 && cpu_backend().has_native_bf16() ? DType::kBF16 : DType::kF32;
  return parse_dtype(wanted).value_or(DType::kF32);
}

namespace {

// Folders by their own names: "run-3" of "out/run-3", and "run-3-2" for a second folder so called.
void mount_adapters(const Config& config, AdapterSet& adapters) {
  auto folders = config.get<std::vector<std::string>>("adapter_name_or_path");
  auto weights = config.get<std::vector<std::string>>("adapter_weights");
  if (!weights.empty() && weights.size() != folders.size())
    fail_usage("adapter_weights has {} values for {} adapters", weights.size(), folders.size());
  std::vector<AdapterSet::Choice> choices;
  for (size_t i = 0; i < folders.size(); ++i) {
    std::filesystem::path folder = std::filesystem::path(folders[i]).lexically_normal();
    std::string stem = (folder.has_filename() ? folder : folder.parent_path()).filename().string(),
                name = stem;
    std::vector<std::string> taken = adapters.names();
    for (int n = 2; std::find(taken.begin(), taken.end(), name) != taken.end(); ++n)
      name = fmt::format("{}-{}", stem, n);
    adapters.load(name, folders[i]);
    double weight = 1;
    if (!weights.empty()) {
      auto [end, error] = std::from_chars(weights[i].data(), weights[i].data() + weights[i].size(), weight);
      if (error != std::errc() || end != weights[i].data() + weights[i].size() || !std::isfinite(weight))
        fail_usage("adapter_weights: \"{}\" is no number", printable(weights[i]));
    }
    choices.push_back({name, weight});
  }
  adapters.use(choices);
}

}  // namespace

Session open_session(const Config& config, bool with_tokenizer) {
  Session session;
  std::filesystem::path folder = config.get<std::string>("model_name_or_path");
  ModelConfig model_config = read_model_config(folder);
  session.compute = inference_dtype(config, model_config);
  if (with_tokenizer) {
    session.tokenizer = load_tokenizer(folder);
    if (session.tokenizer->vocab_size() > model_config.vocab_size)
      fail_input(
          "{}: the tokenizer has {} tokens but the model's vocab_size is {}; is this the model's own "
          "tokenizer?",
          folder.string(), session.tokenizer->vocab_size(), model_config.vocab_size);
  }
  Progress progress("Loading " + folder.filename().string(), "B");
  std::vector<std::string> notes;
  session.model =
      load_model(folder,
                 {.compute = session.compute,
                  .quantize = quantize_options(config),
                  .strict_finite = config.get<bool>("strict_finite"),
                  .progress = [&](uint64_t done, uint64_t total) { progress.update(done, total); }},
                 notes);
  progress.finish();
  for (const std::string& note : notes) warn("{}", note);
  session.adapters = std::make_unique<AdapterSet>(*session.model);
  mount_adapters(config, *session.adapters);
  return session;
}

std::shared_ptr<const ChatTemplate> open_template(const Config& config, const Session& session) {
  std::string name = config.get<std::optional<std::string>>("template").value_or("");
  return make_chat_template(name, session.tokenizer);
}

}  // namespace fettle::app
