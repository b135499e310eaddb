// An adapter: everything that one parameter-efficient method adds to a model, as one object with a folder
// format.
//
// A method is one file: a class derived from Adapter (most from LinearAdapter) and a line in methods.cpp.
#pragma once
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "fettle/models/causal_lm.h"
#include "fettle/peft/adapter_config.h"

namespace fettle {

struct Calibration;

/// What PEFT puts before the path of a module in adapter_model.safetensors.
inline constexpr std::string_view kAdapterKeyPrefix = "base_model.model.";

/// Mounted on a model while it lives. Owns nothing of the base; unmounting leaves the base as it was, to the
/// bit.
class Adapter {
 public:
  /// New weights for `config`, drawn from `seed`. Error(kUsage) when the configuration does not fit the
  /// model.
  /// `calibration`: training data, for initialisations that look at them (lora_calibration.h); may be null.
  static std::unique_ptr<Adapter> create(CausalLM& model, AdapterConfig config, uint64_t seed,
                                         const Calibration* calibration = nullptr);
  /// From an adapter folder of ours or of PEFT (safetensors or bin; f32, f16 or bf16, kept in f32).
  /// Error(kBadInput) naming the file and the first key that is missing, foreign or of another shape.
  static std::unique_ptr<Adapter> load(CausalLM& model, const std::filesystem::path& folder);
  virtual ~Adapter();
  Adapter(const Adapter&) = delete;
  Adapter& operator=(const Adapter&) = delete;

  const AdapterConfig& config() const { return config_; }
  void set_base_model(std::string base) { config_.base_model_name_or_path = std::move(base); }
  /// "LoRA, r 16, alpha 32".
  virtual std::string description() const = 0;
  /// Everything that is trained, modules trained in full included.
  std::vector<Parameter*> parameters() const;
  int64_t parameter_count() const;
  void set_trainable(bool trainable);
  /// Inactive adapters stay mounted and do nothing; modules trained in full go back to the base's values.
  void set_active(bool active);
  bool active() const { return active_; }
  /// How much of the adapter's change is applied (1: all). Error(kUsage) for what has no such scale, by
  /// acts_beside_linears().
  void set_weight(double weight);
  /// What the adapter does besides methods on linears ("an adapted embedding"); empty when that is all. Only
  /// then it can be weighted, and rows of one batch can use it or not.
  virtual std::string acts_beside_linears() const { return "it is no method on linears"; }
  /// What rows of a batch that use this adapter name in their AdapterRoute.
  const void* route_owner() const { return this; }
  /// Why this adapter cannot become part of the base weights; empty when it can.
  virtual std::string why_not_mergeable() const { return {}; }
  /// Other weights of the same configuration, from a folder as load() reads it.
  void read_weights(const std::filesystem::path& folder) { finish_loading(folder); }
  /// Writes adapter_config.json, adapter_model.safetensors and README.md into an existing folder.
  virtual void save(const std::filesystem::path& folder) const;

  /// Trainer's seats. begin_training: before the first step, with the number of steps of the run.
  virtual void begin_training(int64_t total_steps) {}
  /// Adds the gradient of a penalty on the weights themselves and returns its value (AdaLoRA).
  virtual double add_penalty(Backend& backend) { return 0; }
  /// After step `step` (1 for the first), gradients still in place. `updated`: false where the optimizer left
  /// the weights alone because the gradients are not finite.
  virtual void after_step(int64_t step, bool updated) {}
  /// Tensors beside the parameters that a resumed run needs, by name.
  virtual std::map<std::string, Tensor> training_state() const { return {}; }
  virtual void restore_training_state(const std::map<std::string, Tensor>& state) {}

 protected:
  Adapter(CausalLM& model, AdapterConfig config) : model_(model), config_(std::move(config)) {}
  /// Creates the parameters (zeros) and puts the method in its place.
  virtual void mount() = 0;
  /// Before mount(), for a new adapter: looks at data where its first values come from there.
  virtual void calibrate(const Calibration* calibration, uint64_t seed) {}
  /// Gives new parameters their first values.
  virtual void initialise(uint64_t seed) = 0;
  /// The method's own parameters, in the order in which they are saved.
  virtual std::vector<Parameter*> own_parameters() const = 0;
  virtual void activate(bool active) = 0;
  virtual void apply_weight(float weight) {}
  /// Keys of adapter_config.json beside those that all methods share.
  virtual Json saved_keys() const = 0;
  /// Tensors of adapter_model.safetensors by their full keys.
  virtual std::map<std::string, Tensor> saved_tensors() const;
  /// Takes values from `tensors` (keys without kAdapterKeyPrefix and adapter names), erasing what it takes.
  /// Error(kBadInput) naming `folder` and the key when one is missing or mis-shaped.
  virtual void take_tensors(std::map<std::string, Tensor>& tensors, const std::string& folder);
  /// Whether the method's configuration has modules_to_save.
  virtual bool has_modules_to_save() const { return true; }
  virtual std::string tag() const;  ///< of the model card: "lora"

  /// A weight of the base that is trained in full: an f32 copy takes its place while the adapter is active.
  struct Replacement {
    std::shared_ptr<Parameter>* place;
    std::shared_ptr<Parameter> original, copy;
  };
  /// `key`: what the copy is called in adapter_model.safetensors; unset: as the base weight. Returns the
  /// copy.
  Parameter& replace(std::shared_ptr<Parameter>& place, const std::string& key = {});
  /// modules_to_save: every weight of the modules named by their last components.
  void replace_modules(const std::vector<std::string>& names);
  /// bias: none, all, or `only` ("lora_only"): those of targeted linears.
  void replace_biases(const std::string& mode, const std::vector<Linear*>& targets);

  CausalLM& model_;
  AdapterConfig config_;
  std::optional<ReplicatedLayers> replicated_;  ///< taken back last, when nothing lies on them any more
  std::vector<Replacement> replacements_;

 private:
  void finish_loading(const std::filesystem::path& folder);
  bool adopt_base_weight(const std::string& key, const Tensor& value);
  bool active_ = true;
};

/// A method that sits on chosen linears.
class LinearAdapter : public Adapter {
 public:
  ~LinearAdapter() override;
  std::vector<Linear*> linears() const;
  std::string acts_beside_linears() const override;

 protected:
  using Adapter::Adapter;
  struct Site {
    Linear* linear;
    std::shared_ptr<LinearMethod> method;
  };
  virtual std::shared_ptr<LinearMethod> make_method(Linear& linear) = 0;
  virtual std::vector<std::string> default_target_modules() const;
  /// What config_ selects, defaults filled in.
  std::vector<Linear*> selected_linears();
  /// Paths of modules other than linears that target_modules may name.
  virtual std::vector<std::string> other_targets() const { return {}; }
  void mount() override;
  std::vector<Parameter*> own_parameters() const override;
  void activate(bool active) override;
  void apply_weight(float weight) override;
  /// target_modules as they were given, and null for what was not.
  Json target_keys() const;
  std::vector<Site> sites_;
};

/// A trainable f32 parameter of zeros.
std::shared_ptr<Parameter> adapter_parameter(const std::string& name, Shape shape);
/// Names a module in random keys, so that a stream depends on the path alone and not on what else is
/// targeted.
uint32_t random_site(const std::string& path);
/// torch.nn.init.kaiming_uniform_(a=sqrt 5): U(-1/sqrt(fan_in), 1/sqrt(fan_in)); for a matrix fan_in is its
/// width.
void fill_kaiming_uniform(Parameter& parameter, uint64_t seed);
void fill_uniform(Parameter& parameter, double bound, uint64_t seed);
void fill_normal(Parameter& parameter, double deviation, uint64_t seed);
void fill_value(Parameter& parameter, float value);

/// "LORA", "IA3" …: every peft_type that Adapter::load knows.
std::vector<std::string> known_peft_types();

}  // namespace fettle
