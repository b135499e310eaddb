// Bottleneck adapters in the layout of AdapterHub (adapters/configuration, methods/modeling.py):
//   h + scaling * up(f(down(x))), h the output of the attention or the MLP, r the residual stream before it,
//   and x = h      double_seq_bn, after both (Houlsby et al., arXiv 1902.00751)
//       x = h + r  seq_bn, after the MLP (Pfeiffer et al., arXiv 2005.00247)
//       x = r      par_bn, after the MLP (He et al., arXiv 2110.04366)
// Layers of `leave_out` get none (AdapterDrop, Rücklé et al., arXiv 2010.11918); with `adapterdrop_layers` n
// every training step leaves out the first 0 … n layers, drawn anew (its robust form).
#pragma once
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "fettle/nn/sublayer.h"
#include "fettle/peft/adapter.h"

namespace fettle {

struct BottleneckConfig {
  enum class Input { kOutput, kSum, kResidual };
  bool mh_adapter = false, output_adapter = true;
  double reduction_factor = 16;
  Json per_layer_factor = Json();  ///< {"1": 8, "default": 16}; null otherwise
  std::string non_linearity = "relu";
  Activation activation = Activation::kRelu;
  Input input = Input::kSum;
  double scaling = 1, dropout = 0;
  std::string init_weights = "bert";
  std::set<int64_t> leave_out;
  int64_t adapterdrop_layers = 0;
};

/// One bottleneck.
class Bottleneck final : public SublayerMethod {
 public:
  Bottleneck(const std::string& path, int64_t hidden, int64_t width, const BottleneckConfig& config,
             int64_t layer);
  Var forward(Context& context, const Var& output, const Var& residual) override;
  std::vector<Parameter*> parameters() override {
    return {down.get(), down_bias.get(), up.get(), up_bias.get()};
  }
  /// x of the formula above.
  Var input(Context& context, const Var& output, const Var& residual) const;
  /// scaling * up(f(down(x))).
  Var change(Context& context, const Var& x) const;

  std::shared_ptr<Parameter> down, down_bias, up, up_bias;

 private:
  int64_t dropped_layers(const Context& context) const;
  BottleneckConfig config_;
  int64_t layer_;
  uint32_t site_;
};

class BottleneckAdapter final : public Adapter {
 public:
  BottleneckAdapter(CausalLM& model, AdapterConfig config);
  ~BottleneckAdapter() override;
  std::string description() const override;
  std::string why_not_mergeable() const override {
    return "a bottleneck has a non-linearity between its matrices, so it cannot become part of a weight";
  }
  std::string acts_beside_linears() const override { return "it sits between the layers"; }
  /// AdapterHub's files: the weights as safetensors, which its load_adapter(use_safetensors=True) reads.
  void save(const std::filesystem::path& folder) const override;

  /// The name in its files.
  const std::string& name() const { return name_; }
  void set_name(std::string name) { name_ = std::move(name); }
  const BottleneckConfig& settings() const { return b_; }
  /// The bottleneck at a place of the model; null where there is none.
  std::shared_ptr<Bottleneck> at(const std::vector<std::shared_ptr<SublayerMethod>>& place) const;

 protected:
  void mount() override;
  void initialise(uint64_t seed) override;
  std::vector<Parameter*> own_parameters() const override;
  void activate(bool active) override;
  bool has_modules_to_save() const override { return false; }
  Json saved_keys() const override;

 private:
  struct Site {
    std::vector<std::shared_ptr<SublayerMethod>>* place;
    std::shared_ptr<Bottleneck> method;
  };
  double factor_of(size_t layer) const;
  void place(std::vector<std::shared_ptr<SublayerMethod>>& at, const std::string& path, size_t layer);

  BottleneckConfig b_;
  std::string name_;
  std::vector<Site> sites_;
};

}  // namespace fettle
