// A model opened for use: weights, adapters, tokenizer and template, as the options say. Shared by chat,
// generate, score and export.
#pragma once
#include <CLI/App.hpp>
#include <memory>
#include <string>
#include <vector>

#include "fettle/base/config/config.h"
#include "fettle/infer/assistant.h"
#include "fettle/models/loader.h"
#include "fettle/peft/adapter_set.h"

namespace fettle::app {

/// Flags that name a model, and any further `run.yaml key=value …` words; all end in one Config.
class ModelFlags {
 public:
  /// Declares --model, --adapter, --template, --dtype, --threads on `command` and accepts configuration
  /// words.
  void declare(CLI::App& command, bool with_template = true);
  /// The options as given; `who` names the command in messages. model_name_or_path is required.
  Config config(const CLI::App& command, const std::string& who) const;

 private:
  std::string model_, template_, dtype_;
  std::vector<std::string> adapters_, weights_;
  int threads_ = 0;
};

struct Session {
  std::unique_ptr<CausalLM> model;
  std::unique_ptr<AdapterSet>
      adapters;  ///< all of adapter_name_or_path, named after their folders; before the model
  std::shared_ptr<const Tokenizer> tokenizer;
  DType compute = DType::kF32;

  Session() = default;
  Session(Session&&) = default;
  Session& operator=(Session&&) = default;
  ~Session() { adapters.reset(); }
};

/// infer_dtype: "auto" is bf16 for 16-bit models on CPUs with bf16 products, else f32.
DType inference_dtype(const Config& config, const ModelConfig& model);
/// Opens the model with a progress bar and mounts the adapters in the order given, all active with their
/// weights.
Session open_session(const Config& config, bool with_tokenizer);
/// The template that the options name, else the model's own; notices are printed once.
std::shared_ptr<const ChatTemplate> open_template(const Config& config, const Session& session);

}  // namespace fettle::app
