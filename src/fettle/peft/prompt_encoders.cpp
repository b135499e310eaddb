#include "fettle/peft/prompt_encoders.h"

#include <cmath>

#include "fettle/peft/adapter.h"
#include "fettle/peft/lstm.h"

namespace fettle {
namespace {

// Encoders are small and computed in f32 whatever the run computes in.
Context in_f32(const Context& context) {
  Context f32 = context;
  if (f32.compute != DType::kF64) f32.compute = DType::kF32;
  return f32;
}

struct DenseLayer {
  DenseLayer(const std::string& name, int64_t in, int64_t out)
      : weight(adapter_parameter(name + ".weight", {out, in})),
        bias(adapter_parameter(name + ".bias", {out})) {}
  Var operator()(Context& context, const Var& x) const { return linear(context, x, *weight, bias.get()); }
  // torch.nn.Linear: both U(-1/sqrt(in), 1/sqrt(in)).
  void initialise(uint64_t seed) {
    fill_kaiming_uniform(*weight, seed);
    fill_uniform(*bias, 1.0 / std::sqrt(static_cast<double>(weight->shape[1])), seed);
  }
  void list(std::vector<Parameter*>& all) const {
    all.push_back(weight.get());
    all.push_back(bias.get());
  }
  std::shared_ptr<Parameter> weight, bias;
};

class TableEncoder final : public PromptEncoder {
 public:
  TableEncoder(const std::string& name, int64_t tokens, int64_t width)
      : table_(adapter_parameter(name, {tokens, width})) {}
  Var output(Context& context) override { return leaf(context, *table_); }
  std::vector<Parameter*> parameters() override { return {table_.get()}; }
  void initialise(uint64_t seed) override { fill_normal(*table_, 1.0, seed); }

 private:
  std::shared_ptr<Parameter> table_;
};

class MlpEncoder final : public PromptEncoder {
 public:
  MlpEncoder(int64_t tokens, int64_t width, int64_t hidden)
      : table_(adapter_parameter("prompt_encoder.embedding.weight", {tokens, width})),
        first_("prompt_encoder.mlp_head.0", width, hidden),
        second_("prompt_encoder.mlp_head.2", hidden, hidden),
        third_("prompt_encoder.mlp_head.4", hidden, width) {}
  Var output(Context& outer) override {
    Context context = in_f32(outer);
    Var h = activate(context, Activation::kRelu, first_(context, leaf(context, *table_)));
    return third_(context, activate(context, Activation::kRelu, second_(context, h)));
  }
  std::vector<Parameter*> parameters() override {
    std::vector<Parameter*> all = {table_.get()};
    for (const DenseLayer* layer : {&first_, &second_, &third_}) layer->list(all);
    return all;
  }
  void initialise(uint64_t seed) override {
    fill_normal(*table_, 1.0, seed);
    for (DenseLayer* layer : {&first_, &second_, &third_}) layer->initialise(seed);
  }

 private:
  std::shared_ptr<Parameter> table_;
  DenseLayer first_, second_, third_;
};

class LstmEncoder final : public PromptEncoder {
 public:
  LstmEncoder(int64_t tokens, int64_t width, int64_t hidden, int64_t layers, double dropout)
      : table_(adapter_parameter("prompt_encoder.embedding.weight", {tokens, width})),
        first_("prompt_encoder.mlp_head.0", 2 * hidden, 2 * hidden),
        second_("prompt_encoder.mlp_head.2", 2 * hidden, width),
        hidden_(hidden),
        dropout_(static_cast<float>(dropout)) {
    for (int64_t l = 0; l < layers; ++l)
      for (const char* direction : {"", "_reverse"}) {
        std::string end = fmt::format("_l{}{}", l, direction), stem = "prompt_encoder.lstm_head.";
        int64_t in = l == 0 ? width : 2 * hidden;
        directions_.push_back({adapter_parameter(stem + "weight_ih" + end, {4 * hidden, in}),
                               adapter_parameter(stem + "weight_hh" + end, {4 * hidden, hidden}),
                               adapter_parameter(stem + "bias_ih" + end, {4 * hidden}),
                               adapter_parameter(stem + "bias_hh" + end, {4 * hidden})});
      }
  }
  Var output(Context& outer) override {
    Context context = in_f32(outer);
    Var x = leaf(context, *table_);
    for (size_t l = 0; l < directions_.size(); l += 2) {
      if (l > 0) x = dropout(context, x, dropout_, random_site(directions_[l].weight_ih->name));
      x = side_by_side(context, lstm(context, x, directions_[l], false),
                       lstm(context, x, directions_[l + 1], true));
    }
    return second_(context, activate(context, Activation::kRelu, first_(context, x)));
  }
  std::vector<Parameter*> parameters() override {
    std::vector<Parameter*> all = {table_.get()};
    for (const LstmDirection& d : directions_)
      for (const auto& p : {d.weight_ih, d.weight_hh, d.bias_ih, d.bias_hh}) all.push_back(p.get());
    first_.list(all);
    second_.list(all);
    return all;
  }
  void initialise(uint64_t seed) override {
    fill_normal(*table_, 1.0, seed);
    for (const LstmDirection& d : directions_)
      for (const auto& p : {d.weight_ih, d.weight_hh, d.bias_ih, d.bias_hh})
        fill_uniform(*p, 1.0 / std::sqrt(static_cast<double>(hidden_)), seed);
    first_.initialise(seed);
    second_.initialise(seed);
  }

 private:
  // [T, m] and [T, n] as [T, m + n]: their transposes one below the other.
  static Var side_by_side(Context& context, const Var& a, const Var& b) {
    auto turned = [&](const Var& x) {
      Shape shape = {1, x.value.dim(0), x.value.dim(1)};
      return reshape(transpose_last(context, reshape(x, shape)), {shape[2], shape[1]});
    };
    Var below = prepend_rows(context, turned(a), turned(b), {0, static_cast<int32_t>(b.value.dim(1))});
    Shape shape = {1, below.value.dim(0), below.value.dim(1)};
    return reshape(transpose_last(context, reshape(below, shape)), {shape[2], shape[1]});
  }

  std::shared_ptr<Parameter> table_;
  std::vector<LstmDirection> directions_;  // forward, reverse of each layer
  DenseLayer first_, second_;
  int64_t hidden_;
  float dropout_;
};

class ProjectionEncoder final : public PromptEncoder {
 public:
  ProjectionEncoder(int64_t tokens, int64_t width, int64_t hidden, int64_t output_width, bool zero)
      : table_(adapter_parameter("prompt_encoder.embedding.weight", {tokens, width})),
        first_("prompt_encoder.transform.0", width, hidden),
        second_("prompt_encoder.transform.2", hidden, output_width),
        zero_(zero) {}
  Var output(Context& outer) override {
    Context context = in_f32(outer);
    return second_(context, activate(context, Activation::kTanh, first_(context, leaf(context, *table_))));
  }
  std::vector<Parameter*> parameters() override {
    std::vector<Parameter*> all = {table_.get()};
    first_.list(all);
    second_.list(all);
    return all;
  }
  void initialise(uint64_t seed) override {
    fill_normal(*table_, 1.0, seed);
    first_.initialise(seed);
    if (!zero_) second_.initialise(seed);
  }

 private:
  std::shared_ptr<Parameter> table_;
  DenseLayer first_, second_;
  bool zero_;
};

}  // namespace

std::unique_ptr<PromptEncoder> make_table_encoder(const std::string& name, int64_t tokens, int64_t width) {
  return std::make_unique<TableEncoder>(name, tokens, width);
}
std::unique_ptr<PromptEncoder> make_mlp_encoder(int64_t tokens, int64_t width, int64_t hidden) {
  return std::make_unique<MlpEncoder>(tokens, width, hidden);
}
std::unique_ptr<PromptEncoder> make_lstm_encoder(int64_t tokens, int64_t width, int64_t hidden,
                                                 int64_t layers, double dropout) {
  return std::make_unique<LstmEncoder>(tokens, width, hidden, layers, dropout);
}
std::unique_ptr<PromptEncoder> make_projection_encoder(int64_t tokens, int64_t width, int64_t hidden,
                                                       int64_t output_width, bool zero) {
  return std::make_unique<ProjectionEncoder>(tokens, width, hidden, output_width, zero);
}

}  // namespace fettle
