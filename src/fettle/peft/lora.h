// LoRA (Hu et al., arXiv 2106.09685), PEFT's semantics: y = W x + s B A dropout(x), s = alpha / r, or alpha /
// sqrt(r) with use_rslora (Kalajdzievski, arXiv 2312.03732).
#pragma once
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "fettle/base/json.h"
#include "fettle/peft/targets.h"

namespace fettle {

/// The fields of an adapter_config.json with peft_type LORA that this program acts on.
struct LoraConfig {
  int64_t r = 8;
  double lora_alpha = 8;
  double lora_dropout = 0;
  bool use_rslora = false;
  TargetSpec targets;
  std::vector<std::pair<std::string, int64_t>> rank_pattern;  ///< first match wins
  std::vector<std::pair<std::string, double>> alpha_pattern;
  std::string base_model_name_or_path;
  std::string task_type = "CAUSAL_LM";

  int64_t rank_of(const std::string& path) const;
  double scale_of(const std::string& path) const;
};

/// Reads and checks <folder>/adapter_config.json. Other methods and variants that change the arithmetic
/// (DoRA, aLoRA, modules_to_save …) are refused by name: Error(kBadInput).
LoraConfig read_lora_config(const std::filesystem::path& folder);
/// The JSON that PEFT of any release loads: keys sorted, the classic subset.
Json lora_config_json(const LoraConfig& config);

/// The low-rank terms on one linear; several adapters may be stacked.
class LoraMethod final : public LinearMethod {
 public:
  struct Layer {
    std::shared_ptr<Parameter> a, b;
    LoraTerm term;
  };
  Var forward(Context& context, Linear& base, const Var& x) override;
  std::vector<Parameter*> parameters() override;
  void merge_into(Tensor& weight) const override;
  void add(Layer layer) { layers_.push_back(std::move(layer)); }
  void remove(const Parameter* a);
  void set_dropout(const Parameter* a, float p);
  bool empty() const { return layers_.empty(); }
  /// Conv1D bases store their weight transposed.
  bool transposed = false;

 private:
  std::vector<Layer> layers_;
};

/// An adapter mounted on a model. Owns nothing of the base; unmount() leaves the base as it was.
class LoraAdapter {
 public:
  /// New weights: A from kaiming_uniform(sqrt 5), that is U(-1/sqrt(in), 1/sqrt(in)); B zero.
  static std::unique_ptr<LoraAdapter> create(CausalLM& model, const LoraConfig& config, uint64_t seed);
  /// From an adapter folder of ours or of PEFT (safetensors or bin, f32, f16 or bf16; kept in f32).
  static std::unique_ptr<LoraAdapter> load(CausalLM& model, const std::filesystem::path& folder);
  ~LoraAdapter();
  LoraAdapter(const LoraAdapter&) = delete;
  LoraAdapter& operator=(const LoraAdapter&) = delete;

  const LoraConfig& config() const { return config_; }
  void set_base_model(std::string base) { config_.base_model_name_or_path = std::move(base); }
  void set_trainable(bool trainable);
  /// Dropout of training; inference ignores it.
  void set_dropout(double p);
  int64_t parameter_count() const;
  std::vector<Parameter*> parameters() const;
  /// Writes adapter_config.json, adapter_model.safetensors and README.md into an existing folder.
  void save(const std::filesystem::path& folder) const;
  void unmount();

 private:
  struct Site {
    Linear* linear;
    std::shared_ptr<Parameter> a, b;
  };
  LoraAdapter(CausalLM& model, LoraConfig config) : model_(model), config_(std::move(config)) {}
  void mount(const std::vector<Linear*>& targets);

  CausalLM& model_;
  LoraConfig config_;
  std::vector<Site> sites_;
};

}  // namespace fettle
