// AdapterFusion (Pfeiffer et al., arXiv 2005.00247; adapters: methods/modeling.py, BertFusion): several
// trained bottleneck adapters, mixed for each token by an attention that is learned while they and the base
// stay as they are. h the output of the sublayer, x the input of the bottlenecks, u_i what bottleneck i would
// add:
//   h + sum_i softmax_i(Q x · K u_i) V u_i
// A folder holds the fusion and, in a folder each, the adapters that it fuses.
#include <algorithm>

#include "fettle/base/error.h"
#include "fettle/base/file.h"
#include "fettle/formats/safetensors.h"
#include "fettle/peft/bottleneck.h"
#include "fettle/peft/methods.h"

namespace fettle {
namespace {

struct FusionConfig {
  bool query = true, key = true, value = true;
  bool query_before_ln = false, regularization = true, residual_before = false, value_before_softmax = true;
  bool value_initialized = true;
  double dropout_prob = 0;
};

FusionConfig parse(const AdapterConfig& config) {
  ConfigFields fields = config.fields();
  if (fields.boolean("temperature", false))
    fail_input("{}: temperature is true, which is not supported: it changes with every pass", config.origin);
  FusionConfig fusion{.query = fields.boolean("query", true),
                      .key = fields.boolean("key", true),
                      .value = fields.boolean("value", true),
                      .query_before_ln = fields.boolean("query_before_ln", false),
                      .regularization = fields.boolean("regularization", true),
                      .residual_before = fields.boolean("residual_before", false),
                      .value_before_softmax = fields.boolean("value_before_softmax", true),
                      .value_initialized = !config.sorted().contains("value_initialized") ||
                                           !is_off(config.sorted()["value_initialized"]),
                      .dropout_prob = fields.number("dropout_prob", 0, 0, 0.999)};
  if (fusion.dropout_prob > 0)
    fail_input("{}: dropout_prob is {}; only 0 is supported", config.origin, fusion.dropout_prob);
  return fusion;
}

class FusionMethod final : public SublayerMethod {
 public:
  FusionMethod(const std::string& path, int64_t hidden, const FusionConfig& config,
               std::vector<std::shared_ptr<Bottleneck>> fused)
      : config_(config), fused_(std::move(fused)) {
    const std::string own = path + ".adapter_fusion_layer.";
    auto dense = [&](const char* name, bool bias) {
      std::shared_ptr<Parameter> weight = adapter_parameter(own + name + ".weight", {hidden, hidden});
      return Dense{weight, bias ? adapter_parameter(own + name + ".bias", {hidden}) : nullptr};
    };
    if (config.query) query = dense("query", true);
    if (config.key) key = dense("key", true);
    if (config.value) value = dense("value", false);
  }

  Var forward(Context& context, const Var& output, const Var& residual) override {
    Var x = fused_.front()->input(context, output, residual);
    Var asked = apply(context, query, config_.query_before_ln ? output : x);
    std::vector<Var> keys, values;
    for (const auto& bottleneck : fused_) {
      Var change = bottleneck->change(context, x);
      // In place in the library, so that keys see it as well.
      if (config_.residual_before) change = add(context, change, output);
      keys.push_back(apply(context, key, change));
      values.push_back(config_.value_before_softmax ? apply(context, value, change) : change);
    }
    Var mixed = fuse(context, asked, keys, values);
    if (!config_.value_before_softmax) mixed = apply(context, value, mixed);
    return config_.residual_before ? mixed : add(context, mixed, output);
  }
  std::vector<Parameter*> parameters() override {
    std::vector<Parameter*> all;
    for (const Dense* dense : {&query, &key, &value})
      for (const auto& parameter : {dense->weight, dense->bias})
        if (parameter) all.push_back(parameter.get());
    return all;
  }

  struct Dense {
    std::shared_ptr<Parameter> weight, bias;
  };
  Dense query, key, value;

 private:
  static Var apply(Context& context, const Dense& dense, const Var& x) {
    return dense.weight ? linear(context, x, *dense.weight, dense.bias.get()) : x;
  }
  FusionConfig config_;
  std::vector<std::shared_ptr<Bottleneck>> fused_;
};

class FusionAdapter final : public Adapter {
 public:
  FusionAdapter(CausalLM& model, AdapterConfig config)
      : Adapter(model, std::move(config)), fusion_(parse(config_)) {}
  ~FusionAdapter() override {
    for (Site& site : sites_) std::erase(*site.place, std::static_pointer_cast<SublayerMethod>(site.method));
  }
  std::string description() const override {
    return fmt::format("AdapterFusion of {}", fmt::join(names(), ", "));
  }
  std::string why_not_mergeable() const override {
    return "what a fusion adds depends on the token, so it cannot become part of a weight";
  }
  std::string acts_beside_linears() const override { return "it sits between the layers"; }

  void save(const std::filesystem::path& folder) const override {
    const std::string fusion_name = fmt::format("{}", fmt::join(names(), ","));
    std::map<std::string, Tensor> tensors;
    constexpr std::string_view kLayer = "adapter_fusion_layer.";
    for (const Parameter* p : own_parameters()) {
      std::string key = p->name;
      tensors[key.insert(key.find(kLayer) + kLayer.size(), fusion_name + ".")] = p->value;
    }
    write_safetensors(folder / "model_adapter_fusion.safetensors", tensors);
    const ModelConfig& m = model_.config();
    Json json = {{"adapter_names", names()},
                 {"config", saved_keys()},
                 {"hidden_size", m.hidden_size},
                 {"model_class", m.architecture},
                 {"model_name", config_.base_model_name_or_path},
                 {"model_type", m.model_type},
                 {"name", fusion_name},
                 {"version", "adapters.1.3.0"}};
    write_file_atomically(folder / "adapter_fusion_config.json", json.dump(2));
    for (const auto& adapter : adapters_) {
      std::filesystem::create_directories(folder / adapter->name());
      adapter->save(folder / adapter->name());
    }
    write_file_atomically(folder / "README.md",
                          fmt::format("# AdapterFusion\n\n{}, trained with Fettle; the adapters are in the "
                                      "folders of their names. Talk "
                                      "to it with\n\n    fettle chat --model {} --adapter <this folder>\n",
                                      description(), config_.base_model_name_or_path));
  }

 protected:
  void mount() override {
    load_adapters();
    std::vector<Sublayers*> layers = model_.sublayers();
    for (Sublayers* layer : layers) {
      place(layer->after_attention, layer->path + ".attention_adapters");
      place(layer->after_mlp, layer->path + ".output_adapters");
    }
  }
  void initialise(uint64_t seed) override {
    for (Site& site : sites_) {
      FusionMethod& m = *site.method;
      for (FusionMethod::Dense* dense : {&m.query, &m.key, &m.value})
        if (dense->weight) fill_normal(*dense->weight, 0.02, seed);
      if (!m.value.weight || !fusion_.value_initialized) continue;
      fill_value(*m.value.weight, 1e-6f);
      const int64_t hidden = m.value.weight->shape[0];
      for (int64_t i = 0; i < hidden; ++i) m.value.weight->value.data<float>()[i * hidden + i] = 1.0f;
    }
  }
  std::vector<Parameter*> own_parameters() const override {
    std::vector<Parameter*> all;
    for (const Site& site : sites_)
      for (Parameter* parameter : site.method->parameters()) all.push_back(parameter);
    return all;
  }
  void activate(bool active) override {
    for (Site& site : sites_) site.method->active = active;
  }
  bool has_modules_to_save() const override { return false; }
  Json saved_keys() const override {
    return {{"dropout_prob", nullptr},
            {"key", fusion_.key},
            {"query", fusion_.query},
            {"query_before_ln", fusion_.query_before_ln},
            {"regularization", fusion_.regularization},
            {"residual_before", fusion_.residual_before},
            {"temperature", false},
            {"value", fusion_.value},
            {"value_before_softmax", fusion_.value_before_softmax},
            {"value_initialized", fusion_.value_initialized}};
  }

  // get_fusion_regularization_loss of the library: 0.01 |V - I|² a layer.
  double add_penalty(Backend&) override {
    if (!fusion_.regularization) return 0;
    double sum = 0;
    for (Site& site : sites_) {
      Parameter* value = site.method->value.weight.get();
      if (!value || !value->trainable) continue;
      const int64_t hidden = value->shape[0];
      const float* v = value->value.data<float>();
      float* gradient = value->gradient_buffer().data<float>();
      for (int64_t i = 0; i < hidden * hidden; ++i) {
        const double off = v[i] - (i % (hidden + 1) == 0 ? 1.0 : 0.0);
        sum += 0.01 * off * off;
        gradient[i] += static_cast<float>(0.02 * off);
      }
    }
    return sum;
  }

 private:
  struct Site {
    std::vector<std::shared_ptr<SublayerMethod>>* place;
    std::shared_ptr<FusionMethod> method;
  };

  std::vector<std::string> names() const {
    std::vector<std::string> all;
    for (const auto& adapter : adapters_) all.push_back(adapter->name());
    return all;
  }

  void load_adapters() {
    for (const Json& item : config_.sorted()["adapters"]) {
      const std::filesystem::path folder = item.get<std::string>();
      if (!std::filesystem::is_directory(folder))
        fail_input("{}: the adapter {} that it fuses is missing; expected it in {}", config_.origin,
                   printable(folder.filename().string()), folder.string());
      std::unique_ptr<Adapter> loaded = Adapter::load(model_, folder);
      auto* bottleneck = dynamic_cast<BottleneckAdapter*>(loaded.get());
      if (!bottleneck)
        fail_input("{}: AdapterFusion fuses bottleneck adapters, this is {}", folder.string(),
                   loaded->description());
      loaded.release();
      adapters_.emplace_back(bottleneck);
      bottleneck->set_active(false);
    }
    if (adapters_.size() < 2)
      fail_usage("{}: AdapterFusion needs at least two adapters, found {}", config_.origin, adapters_.size());
    for (size_t i = 0; i < adapters_.size(); ++i) {
      const BottleneckConfig &a = adapters_.front()->settings(), &b = adapters_[i]->settings();
      if (b.input == BottleneckConfig::Input::kResidual)
        fail_usage("{}: parallel adapters cannot be fused: the library would add the residual stream twice",
                   config_.origin);
      if (a.input != b.input || a.mh_adapter != b.mh_adapter || a.output_adapter != b.output_adapter)
        fail_usage("{}: adapters \"{}\" and \"{}\" are of different kinds, which cannot be fused",
                   config_.origin, adapters_.front()->name(), adapters_[i]->name());
      for (size_t j = 0; j < i; ++j)
        if (adapters_[j]->name() == adapters_[i]->name()) rename(i);
    }
  }

  // Adapters that were never given a name are all called "default"; then the folder's name tells them apart.
  void rename(size_t i) {
    const Json& folders = config_.sorted()["adapters"];
    for (size_t k = 0; k <= i; ++k) {
      std::string name =
          std::filesystem::path(folders[k].get<std::string>()).lexically_normal().filename().string();
      if (name.empty()) name = "adapter";
      std::replace_if(
          name.begin(), name.end(), [](char c) { return c == '.' || c == ',' || c == '/'; }, '_');
      std::vector<std::string> taken = names();
      taken.erase(taken.begin() + static_cast<ptrdiff_t>(k));
      while (std::find(taken.begin(), taken.end(), name) != taken.end()) name += "_" + std::to_string(k);
      adapters_[k]->set_name(name);
    }
  }

  void place(std::vector<std::shared_ptr<SublayerMethod>>& at, const std::string& path) {
    std::vector<std::shared_ptr<Bottleneck>> fused;
    for (const auto& adapter : adapters_)
      if (std::shared_ptr<Bottleneck> method = adapter->at(at)) fused.push_back(method);
    if (fused.empty()) return;
    auto method =
        std::make_shared<FusionMethod>(path, model_.config().hidden_size, fusion_, std::move(fused));
    at.push_back(method);
    sites_.push_back({&at, method});
  }

  FusionConfig fusion_;
  std::vector<std::unique_ptr<BottleneckAdapter>> adapters_;
  std::vector<Site> sites_;
};

}  // namespace

std::unique_ptr<Adapter> make_adapter_fusion(CausalLM& model, AdapterConfig config) {
  return std::make_unique<FusionAdapter>(model, std::move(config));
}

}  // namespace fettle
