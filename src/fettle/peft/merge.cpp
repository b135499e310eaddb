#include "fettle/peft/merge.h"

#include "fettle/base/error.h"
#include "fettle/formats/weight_source.h"
#include "fettle/models/quantized_files.h"
#include "fettle/models/saver.h"
#include "fettle/peft/dense_weight.h"

namespace fettle {
namespace {

bool replaced(const Parameter& parameter) {
  return parameter.kind == MemoryKind::kAdapters;
}

// A weight of the merged folder: its value in the base folder, or of the copy that was trained in its place.
class Merger {
 public:
  Merger(CausalLM& model, const WeightSource& source) : source_(source) {
    for (const Parameter* parameter : model.parameters())
      if (is_stored_quantized(source, parameter->name)) quantized_[parameter->name] = parameter;
    for (Linear* linear : model.linears()) {
      bool methods = false;
      for (const auto& method : linear->methods)
        methods = methods || (method->active && !method->follows_embedding());
      bool tied = !source.has(linear->path + ".weight") || linear->weight->name != linear->path + ".weight";
      if (methods || replaced(*linear->weight)) changed_[linear->path + ".weight"] = linear;
      if (linear->bias && (methods || replaced(*linear->bias))) changed_[linear->path + ".bias"] = linear;
      if (tied && (methods || replaced(*linear->weight))) untied_.push_back(linear);
    }
    for (Embedding* embedding : model.embeddings())
      if (replaced(*embedding->weight) || !embedding->methods.empty())
        embeddings_[embedding->path + ".weight"] = embedding;
    for (Norm* norm : model.norms()) {
      if (replaced(*norm->weight)) copies_[norm->path + ".weight"] = norm->weight.get();
      if (norm->bias && replaced(*norm->bias)) copies_[norm->path + ".bias"] = norm->bias.get();
    }
  }

  bool quantized() const { return !quantized_.empty(); }
  /// Linears that shared a weight in the base folder and need their own now.
  const std::vector<Linear*>& untied() const { return untied_; }

  Tensor value(const std::string& name, DType dtype) const {
    Tensor result;
    if (auto linear = changed_.find(name); linear != changed_.end())
      result = merged(*linear->second, name.ends_with(".bias"));
    else if (auto embedding = embeddings_.find(name); embedding != embeddings_.end())
      result = merged(*embedding->second);
    else if (auto copy = copies_.find(name); copy != copies_.end())
      result = copy->second->value;
    else if (auto quantized = quantized_.find(name); quantized != quantized_.end())
      result = dense_value(*quantized->second);
    else
      return source_.tensor(name);
    result = result.to(dtype, MemoryKind::kWorkspace);
    if (!cpu_backend().all_finite(result))
      fail_input("\"{}\" is not finite after merging; the adapter is damaged or its values do not fit {}",
                 name, dtype_name(dtype));
    return result;
  }

 private:
  Tensor base_value(const Parameter& parameter, const std::string& name) const {
    if (replaced(parameter)) return f32_copy(parameter.value);
    if (is_stored_quantized(source_, name)) return dense_value(parameter);
    return f32_copy(source_.tensor(source_.has(name) ? name : parameter.name));
  }

  Tensor merged(Linear& linear, bool want_bias) const {
    Tensor weight = base_value(*linear.weight, linear.path + ".weight");
    Tensor bias = linear.bias ? base_value(*linear.bias, linear.path + ".bias") : Tensor();
    if (linear.conv1d) weight = transposed(weight);
    for (const auto& method : linear.methods)
      if (method->active) apply(*method, weight, bias);
    if (want_bias) return bias;
    return linear.conv1d ? transposed(weight) : weight;
  }

  static void apply(const LinearMethod& method, Tensor& weight, Tensor& bias) {
    if (method.weight == 1.0f || method.weighs_itself()) return method.merge(weight, bias);
    Tensor old_weight = f32_copy(weight), old_bias = bias.defined() ? f32_copy(bias) : Tensor();
    method.merge(weight, bias);
    auto mix = [&](Tensor& changed, const Tensor& old) {
      cpu_backend().scale(changed, method.weight);
      cpu_backend().axpy(1.0f - method.weight, old, changed);
    };
    mix(weight, old_weight);
    if (bias.defined()) mix(bias, old_bias);
  }

  Tensor merged(Embedding& embedding) const {
    Tensor weight = base_value(*embedding.weight, embedding.path + ".weight");
    for (const auto& method : embedding.methods)
      if (method->active) method->merge(weight);
    return weight;
  }

  const WeightSource& source_;
  std::map<std::string, Linear*> changed_;
  std::map<std::string, Embedding*> embeddings_;
  std::map<std::string, const Parameter*> copies_;
  std::map<std::string, const Parameter*> quantized_;  // in the base folder
  std::vector<Linear*> untied_;
};

}  // namespace

void merge_to_folder(CausalLM& model, const std::filesystem::path& base, const std::filesystem::path& output,
                     uint64_t max_shard_bytes, const std::function<void(uint64_t, uint64_t)>& progress,
                     bool dequantize) {
  StagedFolder staged(output);
  WeightSource source = WeightSource::open_model(base);
  Merger merger(model, source);
  std::vector<SavedTensor> tensors;
  if (merger.quantized() && !dequantize)
    fail_usage(
        "{}: the base is quantised, and rounding the sum to so few bits again would lose the adapter; merge "
        "into the "
        "16-bit model, or set export_dequantize=true for a merged folder of 16-bit weights",
        base.string());
  auto add = [&](const std::string& name, const std::string& like) {
    if (is_quantization_part(name)) return;
    if (is_stored_quantized(source, name)) {
      const Linear* linear = nullptr;
      for (const Linear* candidate : model.linears())
        if (candidate->path + ".weight" == name) linear = candidate;
      FETTLE_CHECK(linear, "{} is no linear", name);
      DType dtype = model.config().dtype;
      tensors.push_back({name, dtype, {linear->out_features, linear->in_features}, [&merger, name, dtype] {
                           return merger.value(name, dtype);
                         }});
      return;
    }
    TensorInfo info = source.entry(like).info;
    if (!info.dtype)
      fail_input("{}: \"{}\" is {}, which cannot be copied yet", base.string(), printable(name),
                 info.dtype_name);
    DType dtype = *info.dtype;
    tensors.push_back(
        {name, dtype, info.shape, [&merger, name, dtype] { return merger.value(name, dtype); }});
  };
  for (const std::string& name : source.names()) add(name, name);
  for (const Linear* linear : merger.untied())
    add(linear->path + ".weight", model.embeddings().front()->path + ".weight");
  write_weights(staged.path(), tensors, max_shard_bytes, progress);
  copy_model_files(base, staged.path(), model.config().dtype, !merger.untied().empty());
  staged.commit();
}

}  // namespace fettle
