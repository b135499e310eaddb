#include "fettle/peft/lora_calibration.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#include <cmath>
#include <numeric>

#include "fettle/base/error.h"
#include "fettle/peft/dense_weight.h"
#include "fettle/peft/eigen_matrix.h"
#include "fettle/peft/incremental_pca.h"
#include "fettle/peft/low_rank.h"

namespace fettle {
namespace {

using MatrixMap = Eigen::Map<Matrix>;

MatrixMap mapped(Tensor& t) {
  return {t.data<float>(), t.dim(0), t.dim(1)};
}

Tensor copied(const Matrix& m) {
  Tensor t = Tensor::empty({m.rows(), m.cols()}, DType::kF32, MemoryKind::kAdapters);
  mapped(t) = m;
  return t;
}

// Sees the inputs of a linear and changes nothing.
class InputObserver final : public LinearMethod {
 public:
  using See = std::function<void(const Tensor& x)>;
  explicit InputObserver(See see) : see_(std::move(see)) {}
  Var forward(Context& context, const LinearBelow& below, const Var& x) override {
    see_(x.value);
    return below(context, x);
  }
  std::vector<Parameter*> parameters() override { return {}; }
  void merge(Tensor&, Tensor&) const override {}

 private:
  See see_;
};

// Observers on linears for as long as it lives.
class Observation {
 public:
  void add(Linear& linear, InputObserver::See see) {
    auto observer = std::make_shared<InputObserver>(std::move(see));
    linear.methods.push_back(observer);
    mounted_.emplace_back(&linear, observer);
  }
  Observation() = default;
  Observation(const Observation&) = delete;
  Observation& operator=(const Observation&) = delete;
  ~Observation() {
    for (auto& [linear, observer] : mounted_) std::erase(linear->methods, observer);
  }

 private:
  std::vector<std::pair<Linear*, std::shared_ptr<LinearMethod>>> mounted_;
};

void run_forward(CausalLM& model, const CalibrationBatch& batch, DType compute) {
  Context context{.backend = &cpu_backend(), .compute = compute};
  model.hidden_states(context, batch.input);
}

Tensor f32_rows(const Tensor& x) {
  return x.to(DType::kF32, MemoryKind::kWorkspace).reshape({x.rows(), x.cols()});
}

int64_t sample_count(const AdapterConfig& config, const Calibration& calibration) {
  return std::min(calibration.rows, config.fields().integer("init_samples", 256, 1, int64_t{1} << 30));
}

ConfigFields settings(const AdapterConfig& config, const char* key) {
  static const Json kEmpty = Json::object();
  const Json& json = config.sorted();
  bool given = json.contains(key) && json[key].is_object();
  return {given ? json[key] : kEmpty, config.origin + ": " + key};
}

// ---- EVA ----

struct EvaSettings {
  double rho, tau;
  bool use_label_mask, whiten, adjust_scaling_factors;
};

struct EvaSite {
  Linear* linear;
  int64_t rank, components;
  EvaSite* source = nullptr;  ///< an earlier linear with the same inputs, whose analysis serves both
  uint64_t first_input = 0;
  IncrementalPca pca{0};
  std::vector<bool> alike;  ///< component i points where it did one batch ago
  bool converged = false;
  int64_t given = 0;  ///< of the rank budget
};

bool all_alike(const EvaSite& site, int64_t count) {
  for (int64_t i = 0; i < count; ++i)
    if (i >= static_cast<int64_t>(site.alike.size()) || !site.alike[static_cast<size_t>(i)]) return false;
  return true;
}

class Eva {
 public:
  Eva(CausalLM& model, AdapterConfig& config, const LoraConfig& lora, const std::vector<Linear*>& targets,
      const Calibration& calibration)
      : model_(model), config_(config), lora_(lora), calibration_(calibration) {
    ConfigFields fields = settings(config, "eva_config");
    eva_ = {.rho = fields.number("rho", 2.0, 1.0, 1e6),
            .tau = fields.number("tau", 0.99, 0.0, 1.0),
            .use_label_mask = fields.boolean("use_label_mask", true),
            .whiten = fields.boolean("whiten", false),
            .adjust_scaling_factors = fields.boolean("adjust_scaling_factors", true)};
    for (Linear* linear : targets) {
      int64_t rank = lora.rank_of(linear->path);
      int64_t most =
          std::min<int64_t>(std::llround(static_cast<double>(rank) * eva_.rho), linear->in_features);
      sites_.push_back({.linear = linear, .rank = rank, .components = most});
      budget_ += rank;
    }
  }

  std::map<std::string, LoraStart> run() {
    find_equal_inputs();
    analyse();
    return starts();
  }

 private:
  // Batches come round and round.
  CalibrationBatch batch(int64_t index) const {
    int64_t size = std::min(calibration_.batch_size, calibration_.rows);
    int64_t count = (calibration_.rows + size - 1) / size, first = index % count * size;
    return calibration_.batch(first, std::min(size, calibration_.rows - first));
  }

  // q, k and v read the same tensor, and so do gate and up.
  void find_equal_inputs() {
    {
      Observation observation;
      for (EvaSite& site : sites_)
        observation.add(*site.linear, [&site](const Tensor& x) {
          site.first_input = XXH3_64bits_withSeed(x.raw(), x.nbytes(), static_cast<uint64_t>(x.cols()));
        });
      run_forward(model_, batch(0), calibration_.compute);
    }
    std::map<uint64_t, EvaSite*> first;
    for (EvaSite& site : sites_) {
      auto [it, is_new] = first.emplace(site.first_input, &site);
      if (!is_new) site.source = it->second;
    }
    // PEFT's layer_hook_map: the analysed ones, then the others in groups.
    for (EvaSite& site : sites_)
      if (!site.source) order_.push_back(&site);
    for (EvaSite& source : sites_)
      for (EvaSite& site : sites_)
        if (site.source == &source) {
          order_.push_back(&site);
          source.components = std::max(source.components, site.components);
        }
    for (EvaSite& site : sites_) {
      if (site.source) site.components = site.source->components;
      site.given = site.components;
      site.pca = IncrementalPca(site.components);
    }
  }

  void analyse() {
    // Directions that keep turning would go on for ever, as they do in PEFT.
    const int64_t most = std::max<int64_t>(
        2,
        (config_.fields().integer("init_samples", 256, 1, int64_t{1} << 30) + calibration_.batch_size - 1) /
            calibration_.batch_size);
    for (int64_t index = 0; index < most; ++index) {
      int64_t done = 0, all = 0;
      for (EvaSite& site : sites_) {
        if (site.source) continue;
        site.converged = all_alike(site, site.given);
        done += site.converged;
        ++all;
      }
      if (calibration_.progress) calibration_.progress(done, all);
      if (done == all) return;
      learn(batch(index));
      if (std::all_of(sites_.begin(), sites_.end(),
                      [](const EvaSite& s) { return s.source || s.pca.components().defined(); }))
        share_ranks();
    }
    for (const EvaSite& site : sites_)
      if (!site.source && !site.pca.components().defined())
        fail_usage(
            "init_lora_weights eva: no batch has as many learned tokens as the {} directions sought; raise "
            "per_device_train_batch_size or set eva_config use_label_mask to false",
            site.components);
  }

  void learn(const CalibrationBatch& batch) {
    std::vector<int64_t> rows;
    for (size_t t = 0; t < batch.token_learns.size(); ++t)
      if (batch.token_learns[t] || !eva_.use_label_mask) rows.push_back(static_cast<int64_t>(t));
    Observation observation;
    for (EvaSite& site : sites_)
      if (!site.source && !site.converged)
        observation.add(*site.linear, [this, &site, &rows](const Tensor& x) { learn(site, x, rows); });
    run_forward(model_, batch, calibration_.compute);
  }

  void learn(EvaSite& site, const Tensor& x, const std::vector<int64_t>& rows) const {
    if (static_cast<int64_t>(rows.size()) < site.components) {
      if (!site.pca.components().defined() && calibration_.rows <= calibration_.batch_size)
        fail_usage(
            "init_lora_weights eva: {} learned tokens a batch are fewer than the {} directions sought; raise "
            "per_device_train_batch_size or set eva_config use_label_mask to false",
            rows.size(), site.components);
      return;  // as PEFT: such a batch is passed over
    }
    Tensor all = f32_rows(x),
           chosen = Tensor::empty({static_cast<int64_t>(rows.size()), all.dim(1)}, DType::kF32);
    for (size_t i = 0; i < rows.size(); ++i)
      std::copy_n(all.data<float>() + rows[i] * all.dim(1), all.dim(1),
                  chosen.data<float>() + static_cast<int64_t>(i) * all.dim(1));
    Tensor before = site.pca.components();
    site.pca.add(chosen, site.linear->path);
    if (!before.defined()) return;
    Tensor now = site.pca.components();
    site.alike.assign(static_cast<size_t>(site.components), false);
    for (int64_t i = 0; i < now.dim(0); ++i) {
      auto a = mapped(before).row(i), b = mapped(now).row(i);
      double cosine = a.dot(b) / std::max(1e-8f, a.norm() * b.norm());
      site.alike[static_cast<size_t>(i)] = cosine >= eva_.tau;
    }
  }

  // The budget goes to the components that explain most, wherever they are.
  void share_ranks() {
    std::vector<std::pair<double, EvaSite*>> all;
    for (EvaSite* site : order_) {
      const EvaSite& source = site->source ? *site->source : *site;
      const std::vector<double>& ratio = source.pca.explained_ratio();
      for (int64_t i = 0; i < site->components && i < static_cast<int64_t>(ratio.size()); ++i)
        all.emplace_back(ratio[static_cast<size_t>(i)], site);
    }
    std::stable_sort(all.begin(), all.end(), [](const auto& a, const auto& b) { return a.first > b.first; });
    for (EvaSite& site : sites_) site.given = 0;
    for (size_t i = 0; i < all.size() && static_cast<int64_t>(i) < budget_; ++i) ++all[i].second->given;
    // The analysed linear of a group has the highest rank of it.
    for (EvaSite* site : order_)
      if (site->source && site->source->given < site->given) std::swap(site->source->given, site->given);
  }

  std::map<std::string, LoraStart> starts() {
    std::map<std::string, LoraStart> result;
    Json ranks = Json::object(), alphas = Json::object();
    std::vector<std::string> targets;
    for (EvaSite& site : sites_) {
      if (site.given == 0) continue;
      const EvaSite& source = site.source ? *site.source : site;
      Tensor all = source.pca.components();
      Tensor a = all.rows_view(0, site.given).clone(MemoryKind::kAdapters);
      if (eva_.whiten)
        for (int64_t i = 0; i < site.given; ++i)
          mapped(a).row(i) /=
              static_cast<float>(std::sqrt(source.pca.singular_values()[static_cast<size_t>(i)]));
      const std::string& path = site.linear->path;
      result[path] = {a, Tensor()};
      targets.push_back(path);
      double alpha = pattern_value(lora_.alpha_pattern, path, lora_.lora_alpha);
      if (site.given != site.rank && eva_.adjust_scaling_factors)
        alpha *= static_cast<double>(site.given) / static_cast<double>(site.rank);
      if (site.given != lora_.r) ranks[path] = site.given;
      if (alpha != lora_.lora_alpha) alphas[path] = whole_or_real(alpha);
    }
    OrderedJson keys = config_.keys;
    keys["target_modules"] = targets;
    keys["rank_pattern"] = OrderedJson::parse(ranks.dump());
    keys["alpha_pattern"] = OrderedJson::parse(alphas.dump());
    for (const char* key : {"layers_to_transform", "layers_pattern", "exclude_modules"}) keys.erase(key);
    config_ = AdapterConfig::parse(std::move(keys), config_.origin);
    return result;
  }

  CausalLM& model_;
  AdapterConfig& config_;
  const LoraConfig& lora_;
  const Calibration& calibration_;
  EvaSettings eva_{};
  std::vector<EvaSite> sites_;
  std::vector<EvaSite*> order_;
  int64_t budget_ = 0;
};

// ---- CorDA ----

// How far (C + d) (C + d)⁻¹ is from the identity: Frobenius, from evenly chosen columns.
double inverse_error(const Matrix& c, const Eigen::LLT<Matrix>& factor) {
  const int64_t n = c.rows(), columns = std::min<int64_t>(n, 64);
  Matrix unit = Matrix::Zero(n, columns);
  for (int64_t j = 0; j < columns; ++j) unit(j * n / columns, j) = 1;
  return std::sqrt(static_cast<double>(n) / static_cast<double>(columns)) *
         (c * factor.solve(unit) - unit).norm();
}

LoraStart corda_start(const Linear& linear, const Tensor& covariance, bool last, int64_t r, double scale) {
  Tensor c_tensor = covariance;
  Matrix c = mapped(c_tensor);
  double damp = 0.01;
  const float mean = c.diagonal().mean();
  Matrix fixed;
  Eigen::LLT<Matrix> factor;
  for (;; damp *= 2) {
    if (damp > 1e6)
      fail_usage("init_lora_weights corda: the inputs of {} have no usable covariance", linear.path);
    fixed = c;
    fixed.diagonal().array() += mean * static_cast<float>(damp);
    factor.compute(fixed);
    if (factor.info() == Eigen::Success && inverse_error(fixed, factor) < 0.05) break;
  }
  Tensor weight = dense_weight(linear), wide = copied(fixed);
  Tensor product = Tensor::empty({linear.out_features, linear.in_features}, DType::kF32);
  cpu_backend().matmul({.a = &weight, .b = &wide, .out = &product});
  const int64_t all = std::min(linear.out_features, linear.in_features);
  Triplets t = last ? largest_triplets(product, all) : best_triplets(product, r, linear.path);
  const int64_t first = last ? all - r : 0;
  Matrix u = mapped(t.u).middleCols(first, r), v = factor.solve(Matrix(mapped(t.v).middleCols(first, r)));
  Eigen::VectorXf root =
      (Eigen::Map<Eigen::VectorXf>(t.s.data<float>() + first, r) / static_cast<float>(scale)).cwiseSqrt();
  return {copied(root.asDiagonal() * v.transpose()), copied(u * root.asDiagonal())};
}

std::map<std::string, LoraStart> corda(CausalLM& model, const AdapterConfig& config, const LoraConfig& lora,
                                       const std::vector<Linear*>& targets, const Calibration& calibration) {
  ConfigFields fields = settings(config, "corda_config");
  const std::string method = fields.string("corda_method", "ipm");
  if (method != "ipm" && method != "kpm")
    fail_usage("corda_config: corda_method is \"{}\", expected ipm or kpm", printable(method));
  for (const char* file : {"cache_file", "covariance_file"})
    if (fields.has(file)) fail_usage("corda_config: {} is not supported; covariances are made anew", file);
  std::map<std::string, Tensor> covariances;
  {
    Observation observation;
    for (Linear* linear : targets) {
      Tensor& c = covariances[linear->path];
      c = Tensor::zeros({linear->in_features, linear->in_features}, DType::kF32);
      observation.add(*linear, [&c](const Tensor& input) {
        Tensor x = f32_rows(input).clone();
        float largest = std::abs(mapped(x).maxCoeff());  // torch.max(x).abs(): of the signed values
        if (largest > 0) mapped(x) /= largest;
        cpu_backend().matmul({.a = &x, .b = &x, .out = &c, .transpose_a = true, .beta = 1.0f});
      });
    }
    // PEFT counts and scales row by row.
    const int64_t samples = sample_count(config, calibration);
    for (int64_t i = 0; i < samples; ++i) {
      run_forward(model, calibration.batch(i, 1), calibration.compute);
      if (calibration.progress) calibration.progress(i + 1, samples + static_cast<int64_t>(targets.size()));
    }
    for (auto& [path, c] : covariances) cpu_backend().scale(c, 1.0f / static_cast<float>(samples));
  }
  std::map<std::string, LoraStart> starts;
  const int64_t samples = sample_count(config, calibration);
  for (Linear* linear : targets) {
    starts[linear->path] = corda_start(*linear, covariances[linear->path], method == "kpm",
                                       lora.rank_of(linear->path), lora.scale_of(linear->path));
    covariances.erase(linear->path);
    if (calibration.progress)
      calibration.progress(samples + static_cast<int64_t>(starts.size()),
                           samples + static_cast<int64_t>(targets.size()));
  }
  return starts;
}

// ---- LoRA-GA ----

struct LoraGaSettings {
  std::string direction, scale;
  double stable_gamma;
};

// Which of the 2r leading triplets A and B take.
std::pair<std::vector<int64_t>, std::vector<int64_t>> choose_triplets(const std::string& direction, int64_t r,
                                                                      uint64_t seed,
                                                                      const std::string& path) {
  std::vector<int64_t> a(static_cast<size_t>(r)), b(static_cast<size_t>(r));
  std::iota(a.begin(), a.end(), 0);
  b = a;
  if (direction == "ArBr") {
    for (int64_t& i : a) i = 2 * i + 1;
    for (int64_t& i : b) i = 2 * i;
  } else if (direction == "A2rBr") {
    for (int64_t& i : a) i += r;
  } else if (direction == "ArB2r") {
    for (int64_t& i : b) i += r;
  } else {
    std::vector<int64_t> order = random_permutation(2 * r, {seed, RandomUse::kInit, random_site(path), 2});
    a.assign(order.begin(), order.begin() + r);
    b = a;
  }
  return {a, b};
}

LoraStart lora_ga_start(const Linear& linear, const Tensor& gradient, const LoraGaSettings& ga, int64_t r,
                        double scaling, uint64_t seed) {
  const int64_t smaller = std::min(linear.in_features, linear.out_features);
  if (2 * r > smaller)
    fail_usage("init_lora_weights lora_ga: twice the rank {} is more than {} has ({} x {})", r, linear.path,
               linear.out_features, linear.in_features);
  Triplets t = subspace_triplets(gradient, std::min(4 * r, smaller), 4, seed, linear.path);
  auto [of_a, of_b] = choose_triplets(ga.direction, r, seed, linear.path);
  Matrix a(r, linear.in_features), b(linear.out_features, r);
  for (int64_t i = 0; i < r; ++i) {
    a.row(i) = mapped(t.v).col(of_a[static_cast<size_t>(i)]).transpose();
    const int64_t j = of_b[static_cast<size_t>(i)];
    b.col(i) = mapped(t.u).col(j) * t.s.data<float>()[j];
  }
  if (ga.scale == "stable") {
    // PEFT reads the first dimension of the stored weight, which for Conv1D is the inputs.
    const double out = static_cast<double>(linear.conv1d ? linear.in_features : linear.out_features);
    b *= static_cast<float>(std::pow(out, 0.25) / std::sqrt(ga.stable_gamma));
  } else if (ga.scale == "weight_svd") {
    Tensor weight = dense_weight(linear);
    const float of_weight = subspace_triplets(weight, r, 4, seed, linear.path).s.data<float>()[0];
    const float of_gradient = t.s.data<float>()[of_b[0]];
    if (of_gradient > 0) b *= of_weight / of_gradient;
  } else if (ga.scale == "gd_scale") {
    a /= static_cast<float>(scaling);
    b /= static_cast<float>(scaling);
  }
  return {copied(a), copied(b)};
}

std::map<std::string, LoraStart> lora_ga(CausalLM& model, const AdapterConfig& config, const LoraConfig& lora,
                                         const std::vector<Linear*>& targets, const Calibration& calibration,
                                         uint64_t seed) {
  ConfigFields fields = settings(config, "lora_ga_config");
  LoraGaSettings ga{.direction = fields.string("direction", "ArB2r"),
                    .scale = fields.string("scale", "stable"),
                    .stable_gamma = fields.number("stable_gamma", 16, 1e-6, 1e9)};
  if (ga.direction != "ArBr" && ga.direction != "A2rBr" && ga.direction != "ArB2r" &&
      ga.direction != "random")
    fail_usage("lora_ga_config: direction is \"{}\", expected ArBr, A2rBr, ArB2r or random",
               printable(ga.direction));
  if (ga.scale != "stable" && ga.scale != "weight_svd" && ga.scale != "gd_scale" && ga.scale != "unit")
    fail_usage("lora_ga_config: scale is \"{}\", expected stable, weight_svd, gd_scale or unit",
               printable(ga.scale));
  for (Linear* linear : targets) linear->weight->trainable = true;
  const int64_t samples = sample_count(config, calibration);
  int64_t batches = 0;
  for (int64_t first = 0; first < samples; first += calibration.batch_size, ++batches) {
    CalibrationBatch batch = calibration.batch(first, std::min(calibration.batch_size, samples - first));
    const int64_t labels =
        std::count_if(batch.labels.begin(), batch.labels.end(), [](int32_t label) { return label >= 0; });
    if (labels == 0) continue;
    Tape tape;
    Context context{.backend = &cpu_backend(), .tape = &tape, .compute = calibration.compute};
    batch.input.gradient_checkpointing = true;
    Var hidden = model.hidden_states(context, batch.input);
    auto head = [&](Context& c, const Var& h) { return model.logits(c, h); };
    linear_cross_entropy(context, hidden, head, model.config().vocab_size, batch.labels,
                         1.0f / static_cast<float>(labels), model.head_trainable());
    hidden = Var();
    tape.backward();
    if (calibration.progress)
      calibration.progress(std::min(first + calibration.batch_size, samples), samples);
  }
  std::map<std::string, LoraStart> starts;
  for (Linear* linear : targets) {
    linear->weight->trainable = false;
    Tensor gradient = linear->weight->gradient_buffer();
    linear->weight->gradient = Tensor();
    cpu_backend().scale(gradient, 1.0f / static_cast<float>(std::max<int64_t>(1, batches)));
    if (linear->conv1d) gradient = transposed(gradient);
    starts[linear->path] =
        lora_ga_start(*linear, gradient, ga, lora.rank_of(linear->path), lora.scale_of(linear->path), seed);
  }
  return starts;
}

}  // namespace

bool needs_calibration(const std::string& init) {
  return init == "eva" || init == "corda" || init == "lora_ga";
}

std::map<std::string, LoraStart> calibrated_starts(CausalLM& model, AdapterConfig& config,
                                                   const LoraConfig& lora,
                                                   const std::vector<Linear*>& targets,
                                                   const Calibration& calibration, uint64_t seed) {
  for (const Linear* linear : targets) {
    if (lora.init != "eva" && linear->weight->quantized)
      fail_usage("init_lora_weights {}: changes the base weights, which a quantised base does not allow",
                 lora.init);
    if (lora.rank_of(linear->path) > std::min(linear->in_features, linear->out_features))
      fail_usage("init_lora_weights {}: rank {} is larger than {} has ({} x {})", lora.init,
                 lora.rank_of(linear->path), linear->path, linear->out_features, linear->in_features);
  }
  if (lora.init == "eva") return Eva(model, config, lora, targets, calibration).run();
  if (lora.init == "corda") return corda(model, config, lora, targets, calibration);
  return lora_ga(model, config, lora, targets, calibration, seed);
}

}  // namespace fettle
