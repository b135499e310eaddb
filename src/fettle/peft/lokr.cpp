// LoKr, a Kronecker product of small matrices (Yeh et al., LyCORIS, arXiv 2309.14859; Edalati et al., KronA,
// arXiv 2212.10650): ΔW = kron(w1, w2) · alpha / r, each factor full or of low rank. PEFT: tuners/lokr.
#include <cmath>

#include "fettle/base/error.h"
#include "fettle/peft/lycoris.h"
#include "fettle/peft/methods.h"

namespace fettle {
namespace {

// PEFT's factorization(): dim = m n with m <= n; n / m as near to one as `factor` (at most, when positive)
// allows.
std::pair<int64_t, int64_t> factorization(int64_t dim, int64_t factor) {
  if (factor > 0 && dim % factor == 0) return {factor, dim / factor};
  if (factor == -1) factor = dim;
  int64_t m = 1, n = dim, length = m + n;
  while (m < n) {
    int64_t next = m + 1;
    while (dim % next != 0) ++next;
    int64_t other = dim / next;
    if (next + other > length || next > factor) break;
    m = next;
    n = other;
    length = m + n;
  }
  return {std::min(m, n), std::max(m, n)};
}

struct LokrConfig : LycorisConfig {
  bool decompose_both = false;
  int64_t decompose_factor = -1;
};

// A factor as one matrix or as the product of two.
struct Factor {
  std::shared_ptr<Parameter> full, a, b;
  Factor(const std::string& name, int64_t rows, int64_t cols, int64_t r, bool whole) {
    if (whole) {
      full = adapter_parameter(name, {rows, cols});
      return;
    }
    a = adapter_parameter(name + "_a", {rows, r});
    b = adapter_parameter(name + "_b", {r, cols});
  }
  void list(std::vector<Parameter*>& out) const {
    if (full) out.push_back(full.get());
    if (a) out.push_back(a.get());
    if (b) out.push_back(b.get());
  }
  Var value(Context& context) const {
    return full ? leaf(context, *full) : matmul(context, leaf(context, *a), leaf(context, *b));
  }
};

class LokrMethod final : public LycorisMethod {
 public:
  LokrMethod(const Linear& linear, const LokrConfig& config)
      : LycorisMethod(linear, config),
        in_(factorization(linear.in_features, config.decompose_factor)),
        out_(factorization(linear.out_features, config.decompose_factor)),
        w1_(linear.path + ".lokr_w1", out_.first, in_.first, config.rank_of(linear.path),
            !(config.decompose_both && static_cast<double>(config.rank_of(linear.path)) <
                                           static_cast<double>(std::max(out_.first, in_.first)) / 2)),
        w2_(linear.path + ".lokr_w2", out_.second, in_.second, config.rank_of(linear.path),
            static_cast<double>(config.rank_of(linear.path)) >=
                static_cast<double>(std::max(out_.second, in_.second)) / 2) {}

  std::vector<Parameter*> parameters() override {
    std::vector<Parameter*> all;
    w1_.list(all);
    w2_.list(all);
    return all;
  }
  void merge(Tensor& weight, Tensor&) const override {
    Context context{.backend = &cpu_backend(), .compute = DType::kF32};
    Tensor w1 = w1_.value(context).value, w2 = w2_.value(context).value;
    auto [a, b] = out_;
    auto [c, d] = in_;
    for (int64_t i = 0; i < a; ++i)
      for (int64_t k = 0; k < b; ++k)
        for (int64_t j = 0; j < c; ++j) {
          float* target = weight.data<float>() + (i * b + k) * c * d + j * d;
          float factor = scale_ * w1.data<float>()[i * c + j];
          for (int64_t l = 0; l < d; ++l) target[l] += factor * w2.data<float>()[k * d + l];
        }
  }
  void initialise(const std::string& init, uint64_t seed) {
    for (Parameter* parameter : parameters()) fill_kaiming_uniform(*parameter, seed);
    if (init == "true") fill_value(w1_.full ? *w1_.full : *w1_.a, 0.0f);
    if (init == "lycoris") fill_value(w2_.full ? *w2_.full : *w2_.b, 0.0f);
  }

 protected:
  // kron(w1, w2) x without ever building it: with x as a matrix X [c, d] it is w1 X w2ᵀ.
  Var delta(Context& context, const Var& x) override {
    int64_t tokens = x.value.rows();
    auto [a, b] = out_;
    auto [c, d] = in_;
    Var inner = matmul(context, reshape(x, {tokens * c, d}), w2_.value(context), true);
    inner = transpose_last(context, reshape(inner, {tokens, c, b}));
    Var outer = matmul(context, reshape(inner, {tokens * b, c}), w1_.value(context), true, scale_);
    return reshape(transpose_last(context, reshape(outer, {tokens, b, a})), {tokens, a * b});
  }

 private:
  std::pair<int64_t, int64_t> in_, out_;
  Factor w1_, w2_;
};

class LokrAdapter final : public LinearAdapter {
 public:
  LokrAdapter(CausalLM& model, AdapterConfig config) : LinearAdapter(model, std::move(config)) {
    ConfigFields fields = config_.fields();
    static_cast<LycorisConfig&>(lokr_) = parse_lycoris_config(config_);
    lokr_.decompose_both = fields.boolean("decompose_both", false);
    lokr_.decompose_factor = fields.integer("decompose_factor", -1, -1, 1 << 20);
    if (lokr_.decompose_factor == 0)
      fail_input("{}: decompose_factor is 0, expected -1 or a positive number", config_.origin);
  }
  std::string description() const override {
    return fmt::format("LoKr, r {}, alpha {}", lokr_.r, lokr_.alpha);
  }

 protected:
  std::shared_ptr<LinearMethod> make_method(Linear& linear) override {
    return std::make_shared<LokrMethod>(linear, lokr_);
  }
  void initialise(uint64_t seed) override {
    std::string init = "true";
    if (config_.sorted().contains("init_weights")) {
      const Json& value = config_.sorted()["init_weights"];
      init = value.is_string() ? value.get<std::string>() : value == false ? "false" : "true";
    }
    for (const Site& site : sites_) static_cast<LokrMethod&>(*site.method).initialise(init, seed);
  }
  Json saved_keys() const override {
    Json keys = lycoris_keys(lokr_);
    keys["decompose_both"] = lokr_.decompose_both;
    keys["decompose_factor"] = lokr_.decompose_factor;
    keys["rank_dropout_scale"] = lokr_.rank_dropout_scale;
    keys.update(target_keys());
    return keys;
  }

 private:
  LokrConfig lokr_;
};

}  // namespace

std::unique_ptr<Adapter> make_lokr(CausalLM& model, AdapterConfig config) {
  return std::make_unique<LokrAdapter>(model, std::move(config));
}

}  // namespace fettle
