#include "fettle/peft/merge.h"

#include "fettle/base/error.h"
#include "fettle/formats/weight_source.h"
#include "fettle/models/saver.h"

namespace fettle {

void merge_to_folder(CausalLM& model, const std::filesystem::path& base, const std::filesystem::path& output,
                     uint64_t max_shard_bytes, const std::function<void(uint64_t, uint64_t)>& progress) {
  StagedFolder staged(output);
  WeightSource source = WeightSource::open_model(base);
  std::map<std::string, Linear*> changed;
  for (Linear* linear : model.linears())
    if (linear->method) {
      if (linear->weight->name != linear->path + ".weight")
        fail_usage("{} shares its weight with {}; an adapter on a tied head cannot be merged", linear->path,
                   linear->weight->name);
      changed[linear->weight->name] = linear;
    }
  std::vector<SavedTensor> tensors;
  for (const std::string& name : source.names()) {
    TensorInfo info = source.entry(name).info;
    if (!info.dtype)
      fail_input("{}: \"{}\" is {}, which cannot be copied yet", base.string(), printable(name),
                 info.dtype_name);
    DType dtype = *info.dtype;
    auto found = changed.find(name);
    if (found == changed.end()) {
      tensors.push_back({name, dtype, info.shape, [&source, name] { return source.tensor(name); }});
      continue;
    }
    tensors.push_back(
        {name, dtype, info.shape, [&source, name, dtype, linear = found->second] {
           Tensor stored = source.tensor(name);
           Tensor weight = stored.dtype() == DType::kF32 ? stored.clone(MemoryKind::kWorkspace)
                                                         : stored.to(DType::kF32, MemoryKind::kWorkspace);
           linear->method->merge_into(weight);
           Tensor merged = weight.to(dtype, MemoryKind::kWorkspace);
           if (!cpu_backend().all_finite(merged))
             fail_input(
                 "\"{}\" is not finite after merging; the adapter is damaged or its values do not fit {}",
                 name, dtype_name(dtype));
           return merged;
         }});
  }
  write_weights(staged.path(), tensors, max_shard_bytes, progress);
  copy_model_files(base, staged.path(), model.config().dtype);
  staged.commit();
}

}  // namespace fettle
