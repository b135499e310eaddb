// LoRA (Hu et al., arXiv 2106.09685), PEFT's semantics: y = W x + s B A dropout(x), s = alpha / r, or alpha /
// sqrt(r) with use_rslora (Kalajdzievski, arXiv 2312.03732).
#pragma once
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "fettle/peft/adapter.h"

namespace fettle {

/// The keys of an adapter_config.json with peft_type LORA that this program acts on. ADALORA shares them.
struct LoraConfig {
  int64_t r = 8;
  double lora_alpha = 8;
  double lora_dropout = 0;
  bool use_rslora = false;
  bool use_dora = false;
  bool lora_bias = false;
  std::string bias = "none";              ///< none, all, lora_only
  std::string init = "true";              ///< init_lora_weights: "true", "false", or a name
  std::vector<int64_t> trainable_tokens;  ///< rows of the input embedding that are trained
  /// Ranges of layers [first, end) that the model is put together from anew, sharing weights; empty: as it
  /// is.
  std::vector<std::pair<int64_t, int64_t>> layer_replication;
  std::vector<std::pair<std::string, int64_t>> rank_pattern;  ///< first match wins
  std::vector<std::pair<std::string, double>> alpha_pattern;

  int64_t rank_of(const std::string& path) const;
  double scale_of(const std::string& path) const;
};

/// Error(kBadInput) naming file and key for a value that is out of bounds and for a variant that changes the
/// arithmetic and is not known here (aLoRA, KaSA …).
LoraConfig parse_lora_config(const AdapterConfig& config);

/// The low-rank term on one linear.
class LoraMethod : public LinearMethod {
 public:
  LoraMethod(Linear& linear, int64_t rank, double scale, double dropout, bool bias);
  Var forward(Context& context, const LinearBelow& below, const Var& x) override;
  std::vector<Parameter*> parameters() override;
  void merge(Tensor& weight, Tensor& bias) const override;
  bool weighs_itself() const override { return typeid(*this) == typeid(LoraMethod); }
  /// The term with the method's weight.
  LoraTerm weighted() const;

  std::shared_ptr<Parameter> a, b;
  std::shared_ptr<Parameter> b_bias;  ///< of lora_bias; may be null
  LoraTerm term;
  /// What an initialisation took out of the base weight: s B0 A0; undefined when nothing was.
  Tensor a0, b0;
};

/// out [rows, cols] += scale * B A, all f32.
void add_low_rank(Tensor& out, const Tensor& b, const Tensor& a, float scale);

}  // namespace fettle
