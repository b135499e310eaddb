// BOFT with one butterfly factor (Liu et al., arXiv 2311.06243): block rotations by the Cayley transform and
// learned scales of the outputs: y = s ⊙ (W R x) + bias. PEFT: tuners/boft.
#include "fettle/base/error.h"
#include "fettle/peft/methods.h"
#include "fettle/peft/rotations.h"

namespace fettle {
namespace {

struct BoftConfig {
  int64_t block_size = 4, block_num = 0;
  std::string bias = "none";
};

class BoftMethod final : public LinearMethod {
 public:
  BoftMethod(const Linear& linear, const BoftConfig& config, const std::string& origin) {
    int64_t in = linear.in_features;
    int64_t given = config.block_size > 0 ? config.block_size : config.block_num;
    if (in % given != 0)
      fail_input("{}: {} {} does not divide the {} inputs of {}", origin,
                 config.block_size > 0 ? "boft_block_size" : "boft_block_num", given, in, linear.path);
    int64_t size = config.block_size > 0 ? given : in / given;
    squares = adapter_parameter(linear.path + ".boft_R", {1, in / size, size, size});
    scales = adapter_parameter(linear.path + ".boft_s", {linear.out_features, 1});
    if (!linear.methods.empty())
      fail_usage("{}: BOFT needs the plain linear, but another adapter is mounted there", linear.path);
  }
  Var forward(Context& context, const LinearBelow& below, const Var& x) override {
    Linear& base = below.linear();
    FETTLE_CHECK(!below.top(), "{}: BOFT above another method", base.path);
    Var rotated = rotate_blocks(context, x, cayley(context, skew_part(context, *squares)));
    Var y = linear(context, rotated, *base.weight, nullptr, base.conv1d);
    return scale_columns(context, y, leaf(context, *scales), base.bias.get());
  }
  std::vector<Parameter*> parameters() override { return {squares.get(), scales.get()}; }
  void merge(Tensor& weight, Tensor&) const override {
    Context context{.backend = &cpu_backend(), .compute = DType::kF32};
    Tensor rotations = cayley(context, skew_part(context, *squares)).value;
    cpu_backend().rotate_blocks(weight, rotations, true, weight);
    for (int64_t o = 0; o < weight.dim(0); ++o) {
      Tensor row = weight.rows_view(o, o + 1);
      cpu_backend().scale(row, scales->value.data<float>()[o]);
    }
  }

  std::shared_ptr<Parameter> squares, scales;
};

class BoftAdapter final : public LinearAdapter {
 public:
  BoftAdapter(CausalLM& model, AdapterConfig config) : LinearAdapter(model, std::move(config)) {
    ConfigFields fields = config_.fields();
    boft_.block_size = fields.integer("boft_block_size", 4, 0, 1 << 14);
    boft_.block_num = fields.integer("boft_block_num", 0, 0, 1 << 20);
    if ((boft_.block_size == 0) == (boft_.block_num == 0))
      fail_input("{}: boft_block_size is {} and boft_block_num {}; exactly one of them must be zero",
                 config_.origin, boft_.block_size, boft_.block_num);
    // PEFT's own CPU code knows one factor only.
    if (fields.integer("boft_n_butterfly_factor", 1, 1, 64) != 1)
      fail_input("{}: boft_n_butterfly_factor is above 1; only BOFT with one factor is supported",
                 config_.origin);
    if (fields.number("boft_dropout", 0, 0, 1) > 0)
      fail_input("{}: boft_dropout (blocks left unrotated at random) is not supported; set it to 0",
                 config_.origin);
    boft_.bias = fields.string("bias", "none");
    if (boft_.bias != "none" && boft_.bias != "all" && boft_.bias != "boft_only")
      fail_input("{}: bias is \"{}\", expected none, all or boft_only", config_.origin,
                 printable(boft_.bias));
  }
  std::string description() const override {
    return boft_.block_size > 0 ? fmt::format("BOFT, blocks of {}", boft_.block_size)
                                : fmt::format("BOFT, {} blocks", boft_.block_num);
  }

 protected:
  std::shared_ptr<LinearMethod> make_method(Linear& linear) override {
    return std::make_shared<BoftMethod>(linear, boft_, config_.origin);
  }
  void mount() override {
    LinearAdapter::mount();
    replace_biases(boft_.bias, linears());
  }
  void initialise(uint64_t seed) override {
    bool defaults = config_.fields().boolean("init_weights", true);
    for (const Site& site : sites_) {
      BoftMethod& method = static_cast<BoftMethod&>(*site.method);
      if (!defaults) {
        fill_normal(*method.squares, 0.1, seed);
        fill_normal(*method.scales, 0.1, seed);
        for (float& s : method.scales->value.span<float>()) s += 1.0f;
      } else {
        fill_value(*method.scales, 1.0f);
      }
    }
  }
  Json saved_keys() const override {
    Json keys = {{"bias", boft_.bias},
                 {"boft_block_num", boft_.block_num},
                 {"boft_block_size", boft_.block_size},
                 {"boft_dropout", 0.0},
                 {"boft_n_butterfly_factor", 1},
                 {"fan_in_fan_out", !sites_.empty() && sites_.front().linear->conv1d},
                 {"init_weights", true}};
    keys.update(target_keys());
    return keys;
  }

 private:
  BoftConfig boft_;
};

}  // namespace

std::unique_ptr<Adapter> make_boft(CausalLM& model, AdapterConfig config) {
  return std::make_unique<BoftAdapter>(model, std::move(config));
}

}  // namespace fettle
