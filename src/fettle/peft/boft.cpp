// BOFT (Liu et al., arXiv 2311.06243): y = s ⊙ (W R x) + bias with learned scales s and a rotation R that is
// a product of factors. Each factor turns blocks of inputs by the Cayley transform; the i-th couples inputs
// that lie 2^i half blocks apart, as in a butterfly network. PEFT: tuners/boft.
#include <numeric>

#include "fettle/base/error.h"
#include "fettle/peft/methods.h"
#include "fettle/peft/rotations.h"

namespace fettle {
namespace {

struct BoftConfig {
  int64_t block_size = 4, block_num = 0, factors = 1;
  double dropout = 0;
  std::string bias = "none";
};

// PEFT's block_butterfly_perm for factor i, as the column that stands at each place of the blocks: in runs of
// 2^i blocks, cut into half blocks, the even halves come before the odd ones.
ColumnOrder butterfly_order(int64_t inputs, int64_t size, int64_t factor) {
  if (factor == 0) return nullptr;
  const int64_t half = size / 2, halves = int64_t{2} << factor;  // half blocks in a run
  auto order = std::make_shared<std::vector<int32_t>>(static_cast<size_t>(inputs));
  for (int64_t run = 0; run < inputs; run += half * halves)
    for (int64_t h = 0; h < halves; ++h) {
      // The matrix sends its row at half h to the column of `sorted`; what stands at a place is the inverse
      // of that.
      const int64_t sorted = h < halves / 2 ? 2 * h : 2 * (h - halves / 2) + 1;
      for (int64_t i = 0; i < half; ++i)
        (*order)[static_cast<size_t>(run + sorted * half + i)] = static_cast<int32_t>(run + h * half + i);
    }
  return order;
}

class BoftMethod final : public LinearMethod {
 public:
  BoftMethod(const Linear& linear, const BoftConfig& config, const std::string& origin) {
    int64_t in = linear.in_features;
    int64_t given = config.block_size > 0 ? config.block_size : config.block_num;
    if (in % given != 0)
      fail_input("{}: {} {} does not divide the {} inputs of {}", origin,
                 config.block_size > 0 ? "boft_block_size" : "boft_block_num", given, in, linear.path);
    int64_t size = config.block_size > 0 ? given : in / given;
    // PEFT's conditions on several factors.
    const int64_t run = size << (config.factors - 1);
    if (config.factors > 1 && (in % run != 0 || size % 2 != 0))
      fail_input(
          "{}: boft_n_butterfly_factor {} needs an even block size and {} inputs of {} to be a multiple of "
          "{} (block size {} "
          "times 2^{})",
          origin, config.factors, in, linear.path, run, size, config.factors - 1);
    for (int64_t i = 0; i < config.factors; ++i) orders_.push_back(butterfly_order(in, size, i));
    dropout_ = config.dropout;
    site_ = random_site(linear.path);
    squares = adapter_parameter(linear.path + ".boft_R", {config.factors, in / size, size, size});
    scales = adapter_parameter(linear.path + ".boft_s", {linear.out_features, 1});
    if (!linear.methods.empty())
      fail_usage("{}: BOFT needs the plain linear, but another adapter is mounted there", linear.path);
  }
  Var forward(Context& context, const LinearBelow& below, const Var& x) override {
    Linear& base = below.linear();
    FETTLE_CHECK(!below.top(), "{}: BOFT above another method", base.path);
    Var all = drop_blocks(context, cayley(context, skew_part(context, *squares)), factors(), dropout_, site_);
    Var rotated = x;
    for (int64_t i = factors(); i-- > 0;)
      rotated = rotate_blocks(context, rotated, factor(context, all, i), orders_[static_cast<size_t>(i)]);
    Var y = linear(context, rotated, *base.weight, nullptr, base.conv1d);
    return scale_columns(context, y, leaf(context, *scales), base.bias.get());
  }
  std::vector<Parameter*> parameters() override { return {squares.get(), scales.get()}; }
  void merge(Tensor& weight, Tensor&) const override {
    Context context{.backend = &cpu_backend(), .compute = DType::kF32};
    Var all = cayley(context, skew_part(context, *squares));
    for (int64_t i = 0; i < factors(); ++i) {
      const ColumnOrder& order = orders_[static_cast<size_t>(i)];
      cpu_backend().rotate_blocks(weight, factor(context, all, i).value, true,
                                  order ? std::span(*order) : std::span<const int32_t>(), weight);
    }
    for (int64_t o = 0; o < weight.dim(0); ++o) {
      Tensor row = weight.rows_view(o, o + 1);
      cpu_backend().scale(row, scales->value.data<float>()[o]);
    }
  }

  std::shared_ptr<Parameter> squares, scales;

 private:
  int64_t factors() const { return static_cast<int64_t>(orders_.size()); }
  // The blocks of one factor.
  Var factor(Context& context, const Var& all, int64_t i) const {
    if (factors() == 1) return all;
    const int64_t count = all.value.dim(0) / factors();
    std::vector<int32_t> rows(static_cast<size_t>(count));
    std::iota(rows.begin(), rows.end(), static_cast<int32_t>(i * count));
    const Shape shape = {count, all.value.dim(1), all.value.dim(2)};
    Var flat = reshape(all, {all.value.dim(0), shape[1] * shape[2]});
    return reshape(select_rows(context, flat, rows), shape);
  }

  std::vector<ColumnOrder> orders_;
  double dropout_ = 0;
  uint32_t site_ = 0;
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
    boft_.factors = fields.integer("boft_n_butterfly_factor", 1, 1, 16);
    boft_.dropout = fields.number("boft_dropout", 0, 0, 1);
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
                 {"boft_dropout", boft_.dropout},
                 {"boft_n_butterfly_factor", boft_.factors},
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
