// OFT, orthogonal fine-tuning (Qiu et al., arXiv 2306.07280): the input is rotated block by block before the
// linear. PEFT: tuners/oft.
#include <cmath>

#include "fettle/base/error.h"
#include "fettle/peft/methods.h"
#include "fettle/peft/rotations.h"

namespace fettle {
namespace {

struct OftConfig {
  int64_t r = 0, block_size = 32, terms = 5;
  bool coft = false, block_share = false, neumann = true;
  double eps = 6e-5;
  double dropout = 0;
  std::string bias = "none";
};

// PEFT's adjust_oft_parameters: the divisor of `features` that is nearest to `wanted`.
int64_t nearest_divisor(int64_t features, int64_t wanted) {
  if (wanted >= features) return features;
  int64_t higher = wanted, lower = wanted;
  while (higher <= features && features % higher != 0) ++higher;
  while (lower > 1 && features % lower != 0) --lower;
  return wanted - lower <= higher - wanted ? lower : higher;
}

int64_t block_size_for(const OftConfig& config, int64_t features) {
  if (config.block_size > 0) return nearest_divisor(features, config.block_size);
  return features / nearest_divisor(features, config.r);
}

class OftMethod final : public LinearMethod {
 public:
  OftMethod(const Linear& linear, const OftConfig& config)
      : config_(config), size_(block_size_for(config, linear.in_features)) {
    site_ = random_site(linear.path);
    int64_t blocks = config.block_share ? 1 : linear.in_features / size_;
    vectors = adapter_parameter(linear.path + ".oft_R.weight", {blocks, size_ * (size_ - 1) / 2});
  }
  Var forward(Context& context, const LinearBelow& below, const Var& x) override {
    return below(context, rotate_blocks(context, x, rotations(context)));
  }
  std::vector<Parameter*> parameters() override { return {vectors.get()}; }
  // W (R x)ᵀ: every row of W, block by block, times Rᵀ.
  void merge(Tensor& weight, Tensor&) const override {
    Context context{.backend = &cpu_backend(), .compute = DType::kF32};
    cpu_backend().rotate_blocks(weight, rotations(context).value, true, {}, weight);
  }

  std::shared_ptr<Parameter> vectors;

 private:
  Var rotations(Context& context) const {
    if (config_.coft) project();
    Var skew = skew_from_vectors(context, *vectors, size_);
    Var blocks = config_.neumann ? cayley_neumann(context, skew, config_.terms) : cayley(context, skew);
    // PEFT never drops the only block.
    return blocks.value.dim(0) == 1 ? blocks : drop_blocks(context, blocks, 1, config_.dropout, site_);
  }
  // Constrained OFT keeps every S within eps / sqrt(blocks) of zero (Frobenius); as in PEFT, the weights
  // themselves are changed. The margin makes the projection of a projected block the identity, to the bit.
  void project() const {
    int64_t blocks = vectors->shape[0], length = vectors->shape[1];
    double limit = config_.eps / std::sqrt(static_cast<double>(blocks));
    for (int64_t n = 0; n < blocks; ++n) {
      float* v = vectors->value.data<float>() + n * length;
      double sum = 0;
      for (int64_t i = 0; i < length; ++i) sum += 2.0 * v[i] * v[i];
      double norm = std::sqrt(sum);
      if (norm <= limit * (1 + 1e-6)) continue;
      for (int64_t i = 0; i < length; ++i) v[i] = static_cast<float>(v[i] * (limit / norm));
    }
  }

  OftConfig config_;
  int64_t size_;
  uint32_t site_ = 0;
};

class OftAdapter final : public LinearAdapter {
 public:
  OftAdapter(CausalLM& model, AdapterConfig config) : LinearAdapter(model, std::move(config)) {
    ConfigFields fields = config_.fields();
    oft_.r = fields.integer("r", 0, 0, 1 << 20);
    oft_.block_size = fields.integer("oft_block_size", 32, 0, 1 << 14);
    if ((oft_.r == 0) == (oft_.block_size == 0))
      fail_input("{}: r is {} and oft_block_size {}; exactly one of them must be zero", config_.origin,
                 oft_.r, oft_.block_size);
    oft_.coft = fields.boolean("coft", false);
    oft_.eps = fields.number("eps", 6e-5, 0, 1e6);
    oft_.block_share = fields.boolean("block_share", false);
    oft_.neumann = fields.boolean("use_cayley_neumann", true);
    oft_.terms = fields.integer("num_cayley_neumann_terms", 5, 1, 1000);
    oft_.bias = fields.string("bias", "none");
    if (oft_.bias != "none" && oft_.bias != "all" && oft_.bias != "oft_only")
      fail_input("{}: bias is \"{}\", expected none, all or oft_only", config_.origin, printable(oft_.bias));
    oft_.dropout = fields.number("module_dropout", 0, 0, 1);
  }
  std::string description() const override {
    return oft_.block_size > 0 ? fmt::format("OFT, blocks of {}", oft_.block_size)
                               : fmt::format("OFT, {} blocks", oft_.r);
  }

 protected:
  std::shared_ptr<LinearMethod> make_method(Linear& linear) override {
    return std::make_shared<OftMethod>(linear, oft_);
  }
  void mount() override {
    LinearAdapter::mount();
    replace_biases(oft_.bias, linears());
  }
  void initialise(uint64_t seed) override {
    if (config_.fields().boolean("init_weights", true)) return;  // zeros: no rotation
    for (Parameter* parameter : own_parameters()) fill_normal(*parameter, 0.1, seed);
  }
  Json saved_keys() const override {
    Json keys = {{"bias", oft_.bias},
                 {"block_share", oft_.block_share},
                 {"coft", oft_.coft},
                 {"eps", oft_.eps},
                 {"fan_in_fan_out", !sites_.empty() && sites_.front().linear->conv1d},
                 {"init_weights", true},
                 {"module_dropout", oft_.dropout},
                 {"num_cayley_neumann_terms", oft_.terms},
                 {"oft_block_size", oft_.block_size},
                 {"r", oft_.r},
                 {"use_cayley_neumann", oft_.neumann}};
    keys.update(target_keys());
    return keys;
  }

 private:
  OftConfig oft_;
};

}  // namespace

std::unique_ptr<Adapter> make_oft(CausalLM& model, AdapterConfig config) {
  return std::make_unique<OftAdapter>(model, std::move(config));
}

}  // namespace fettle
