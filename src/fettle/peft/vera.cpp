// VeRA (Kopiczko et al., arXiv 2310.11454): one frozen random pair A, B for all linears; learned are the
// scales of the r directions and of the outputs: y += λ_b ⊙ B (λ_d ⊙ A dropout(x)). PEFT: tuners/vera.
#include <cmath>
#include <random>

#include "fettle/base/error.h"
#include "fettle/peft/methods.h"

namespace fettle {
namespace {

// torch.Tensor.uniform_ on the CPU: 24 bits of each mt19937 word.
Tensor torch_kaiming_uniform(std::mt19937& generator, int64_t rows, int64_t cols) {
  Tensor t = Tensor::empty({rows, cols}, DType::kF32, MemoryKind::kAdapters);
  double bound = std::sqrt(3.0) * (std::sqrt(2.0) / std::sqrt(static_cast<double>(cols)));
  float low = static_cast<float>(-bound), high = static_cast<float>(bound);
  for (float& value : t.span<float>()) {
    float unit = static_cast<float>(generator() & 0xFFFFFFu) * 0x1p-24f;
    value = unit * (high - low) + low;
  }
  return t;
}

class VeraMethod final : public LinearMethod {
 public:
  VeraMethod(const Linear& linear, int64_t r, double dropout)
      : lambda_b(adapter_parameter(linear.path + ".vera_lambda_b", {linear.out_features})),
        lambda_d(adapter_parameter(linear.path + ".vera_lambda_d", {r})),
        dropout_(static_cast<float>(dropout)),
        site_(random_site(linear.path)) {}
  Var forward(Context& context, const LinearBelow& below, const Var& x) override {
    Var h = matmul(context, dropout(context, x, dropout_, site_), Var(a), true);
    h = scale_columns(context, h, leaf(context, *lambda_d));
    h = scale_columns(context, matmul(context, h, Var(b), true), leaf(context, *lambda_b));
    return add(context, below(context, x), h);
  }
  std::vector<Parameter*> parameters() override { return {lambda_b.get(), lambda_d.get()}; }
  void merge(Tensor& weight, Tensor&) const override {
    Tensor scaled = Tensor::empty(b.shape(), DType::kF32, MemoryKind::kWorkspace);
    cpu_backend().scale_columns(b, lambda_d->value, Tensor(), scaled);
    for (int64_t o = 0; o < scaled.dim(0); ++o) {
      Tensor row = scaled.rows_view(o, o + 1);
      cpu_backend().scale(row, lambda_b->value.data<float>()[o]);
    }
    cpu_backend().matmul({.a = &scaled, .b = &a, .out = &weight, .beta = 1.0f});
  }

  std::shared_ptr<Parameter> lambda_b, lambda_d;
  Tensor a, b;  ///< [r, in], [out, r]: the corner of the shared pair that this linear uses

 private:
  float dropout_;
  uint32_t site_;
};

class VeraAdapter final : public LinearAdapter {
 public:
  VeraAdapter(CausalLM& model, AdapterConfig config) : LinearAdapter(model, std::move(config)) {
    ConfigFields fields = config_.fields();
    r_ = fields.integer("r", 256, 1, 1 << 16);
    dropout_ = fields.number("vera_dropout", 0, 0, 1);
    d_initial_ = fields.number("d_initial", 0.1, -1e6, 1e6);
    key_ = fields.integer("projection_prng_key", 0, 0, INT64_MAX);
    save_projection_ = fields.boolean("save_projection", true);
    bias_ = fields.string("bias", "none");
    if (bias_ != "none" && bias_ != "all" && bias_ != "vera_only")
      fail_input("{}: bias is \"{}\", expected none, all or vera_only", config_.origin, printable(bias_));
  }
  std::string description() const override { return fmt::format("VeRA, r {}", r_); }

 protected:
  std::shared_ptr<LinearMethod> make_method(Linear& linear) override {
    return std::make_shared<VeraMethod>(linear, r_, dropout_);
  }
  void mount() override {
    LinearAdapter::mount();
    replace_biases(bias_, linears());
    int64_t in = 0, out = 0;
    for (const Linear* linear : linears()) {
      in = std::max(in, linear->in_features);
      out = std::max(out, linear->out_features);
    }
    std::mt19937 generator(static_cast<uint32_t>(key_));
    a_ = torch_kaiming_uniform(generator, r_, in);
    b_ = torch_kaiming_uniform(generator, out, r_);
    hand_out();
  }
  void initialise(uint64_t seed) override {
    bool defaults = config_.fields().boolean("init_weights", true);
    for (const Site& site : sites_) {
      VeraMethod& method = vera(site);
      defaults ? fill_value(*method.lambda_d, static_cast<float>(d_initial_))
               : fill_normal(*method.lambda_d, 1.0, seed);
      fill_value(*method.lambda_b, defaults ? 0.0f : 1.0f);
    }
  }
  void take_tensors(std::map<std::string, Tensor>& tensors, const std::string& folder) override {
    for (auto [key, own] : {std::pair{"vera_A", &a_}, std::pair{"vera_B", &b_}}) {
      auto found = tensors.find(key);
      if (found == tensors.end()) {
        if (save_projection_)
          fail_input("{}: \"base_model.{}\" is missing, although save_projection is true", folder, key);
        continue;
      }
      if (found->second.rank() != 2 || found->second.dim(0) < own->dim(0) ||
          found->second.dim(1) < own->dim(1))
        fail_input("{}: \"{}\" is {}, this base model needs at least {}", folder, key,
                   shape_string(found->second.shape()), shape_string(own->shape()));
      *own = found->second.to(DType::kF32, MemoryKind::kAdapters);
      tensors.erase(found);
    }
    hand_out();
    Adapter::take_tensors(tensors, folder);
  }
  std::map<std::string, Tensor> saved_tensors() const override {
    std::map<std::string, Tensor> tensors = Adapter::saved_tensors();
    if (save_projection_) {
      tensors["base_model.vera_A"] = a_;
      tensors["base_model.vera_B"] = b_;
    }
    return tensors;
  }
  Json saved_keys() const override {
    Json keys = {{"bias", bias_},
                 {"d_initial", d_initial_},
                 {"fan_in_fan_out", !sites_.empty() && sites_.front().linear->conv1d},
                 {"init_weights", true},
                 {"projection_prng_key", key_},
                 {"r", r_},
                 {"save_projection", save_projection_},
                 {"vera_dropout", dropout_}};
    keys.update(target_keys());
    return keys;
  }

 private:
  static VeraMethod& vera(const Site& site) { return static_cast<VeraMethod&>(*site.method); }

  // Linears of one width share one slice of A; B is sliced by rows, which is a view.
  void hand_out() {
    std::map<int64_t, Tensor> slices;
    for (const Site& site : sites_) {
      int64_t in = site.linear->in_features;
      Tensor& slice = slices[in];
      if (!slice.defined()) {
        slice = Tensor::empty({r_, in}, DType::kF32, MemoryKind::kAdapters);
        for (int64_t k = 0; k < r_; ++k)
          std::copy_n(a_.data<float>() + k * a_.dim(1), in, slice.data<float>() + k * in);
      }
      vera(site).a = slice;
      vera(site).b = b_.rows_view(0, site.linear->out_features);
    }
  }

  int64_t r_, key_;
  double dropout_, d_initial_;
  bool save_projection_;
  std::string bias_;
  Tensor a_, b_;
};

}  // namespace

std::unique_ptr<Adapter> make_vera(CausalLM& model, AdapterConfig config) {
  return std::make_unique<VeraAdapter>(model, std::move(config));
}

}  // namespace fettle
