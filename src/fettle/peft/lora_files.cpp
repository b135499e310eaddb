// LoRA adapter folders: adapter_config.json, adapter_model.safetensors or .bin, README.md.
#include <nlohmann/json.hpp>

#include "fettle/base/error.h"
#include "fettle/base/file.h"
#include "fettle/formats/weight_source.h"
#include "fettle/peft/lora.h"

namespace fettle {
namespace {

constexpr const char* kPrefix = "base_model.model.";

// PEFT's key for one of our parameter names, and back from what releases and other trainers have written:
// with or without "base_model.model.", with the adapter's name before ".weight" ("lora_A.default.weight").
std::string plain_key(std::string key) {
  if (key.starts_with(kPrefix)) key = key.substr(std::string_view(kPrefix).size());
  for (const char* part : {".lora_A.", ".lora_B."}) {
    size_t at = key.find(part);
    if (at == key.npos || !key.ends_with(".weight")) continue;
    return key.substr(0, at) + part + "weight";
  }
  return key;
}

std::string model_card(const LoraConfig& config) {
  return fmt::format(
      "---\nbase_model: {}\nlibrary_name: peft\npipeline_tag: text-generation\ntags:\n- lora\n---\n\n"
      "# LoRA adapter\n\nRank {}, alpha {}, trained with Fettle. Load it with PEFT, or talk to it with\n\n"
      "    fettle chat --model {} --adapter <this folder>\n",
      config.base_model_name_or_path, config.r, config.lora_alpha, config.base_model_name_or_path);
}

}  // namespace

std::unique_ptr<LoraAdapter> LoraAdapter::load(CausalLM& model, const std::filesystem::path& folder) {
  LoraConfig config = read_lora_config(folder);
  if (config.targets.modules.empty() && config.targets.pattern.empty()) {
    config.targets.modules = default_targets(model.config().model_type);
    if (config.targets.modules.empty())
      fail_input("{}: target_modules is null and {} has no default",
                 (folder / "adapter_config.json").string(), model.config().model_type);
  }
  WeightSource source = WeightSource::open_adapter(folder);
  std::map<std::string, std::string> stored;  // our name -> name in the file
  for (const std::string& name : source.names())
    if (!stored.emplace(plain_key(name), name).second)
      fail_input("{}: \"{}\" stands there twice under different spellings", folder.string(),
                 printable(plain_key(name)));
  std::unique_ptr<LoraAdapter> adapter(new LoraAdapter(model, config));
  adapter->mount(select_targets(model, config.targets));
  for (Parameter* parameter : adapter->parameters()) {
    auto found = stored.find(parameter->name);
    if (found == stored.end())
      fail_input("{}: \"{}{}\" is missing; was the adapter trained on another base model?", folder.string(),
                 kPrefix, parameter->name);
    Tensor value = source.tensor(found->second);
    if (value.shape() != parameter->shape)
      fail_input("{}: \"{}\" is {}, this base model needs {}; was the adapter trained on another base model?",
                 folder.string(), printable(found->second), shape_string(value.shape()),
                 shape_string(parameter->shape));
    if (!is_floating(value.dtype()))
      fail_input("{}: \"{}\" is {}, expected f32, f16 or bf16", folder.string(), printable(found->second),
                 dtype_name(value.dtype()));
    Tensor f32 = value.to(DType::kF32);
    parameter->value.assign(f32.raw(), f32.nbytes());
    stored.erase(found);
  }
  if (!stored.empty())
    fail_input(
        "{}: \"{}\" ({} such tensors) belongs to no module of {} that the adapter targets; was it trained on "
        "another base model?",
        folder.string(), printable(stored.begin()->second), stored.size(), model.config().architecture);
  return adapter;
}

void LoraAdapter::save(const std::filesystem::path& folder) const {
  std::map<std::string, Tensor> tensors;
  for (const Parameter* parameter : parameters()) tensors[kPrefix + parameter->name] = parameter->value;
  write_safetensors(folder / "adapter_model.safetensors", tensors);
  write_file_atomically(folder / "adapter_config.json", lora_config_json(config_).dump(2));
  write_file_atomically(folder / "README.md", model_card(config_));
}

}  // namespace fettle
