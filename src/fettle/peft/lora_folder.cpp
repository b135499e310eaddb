#include "fettle/peft/lora_folder.h"

#include <algorithm>
#include <map>
#include <set>

#include "fettle/base/error.h"
#include "fettle/base/file.h"
#include "fettle/formats/safetensors.h"
#include "fettle/peft/lora.h"

namespace fettle {
namespace {

constexpr std::string_view kEnds[] = {".lora_A.weight", ".lora_embedding_A.weight", ".lora_embedding_A",
                                      ".lora_A"};

void refuse_what_pairs_cannot_say(const AdapterConfig& config, const LoraConfig& lora) {
  const char* reason = nullptr;
  if (lora.use_dora) reason = "use_dora";
  if (lora.bias != "none") reason = "bias";
  if (lora.lora_bias) reason = "lora_bias";
  if (!lora.trainable_tokens.empty()) reason = "trainable_token_indices";
  if (!config.modules_to_save.empty()) reason = "modules_to_save";
  if (reason)
    fail_usage("{}: {} is set; only plain LoRA adapters can be worked on without their base model",
               config.origin, reason);
  if (lora.init != "true" && lora.init != "false" && lora.init != "gaussian" && lora.init != "orthogonal")
    fail_usage(
        "{}: init_lora_weights \"{}\" changed the base model; make it plain LoRA first with fettle adapter "
        "convert --model BASE",
        config.origin, printable(lora.init));
}

}  // namespace

const LoraPair* LoraFolder::find(const std::string& module) const {
  auto found =
      std::lower_bound(pairs.begin(), pairs.end(), module,
                       [](const LoraPair& pair, const std::string& name) { return pair.module < name; });
  return found != pairs.end() && found->module == module ? &*found : nullptr;
}

LoraFolder read_lora_folder(const std::filesystem::path& folder) {
  AdapterConfig config = AdapterConfig::read(folder);
  if (config.peft_type != "LORA")
    fail_usage(
        "{}: peft_type is \"{}\", expected LORA; fettle adapter convert --model BASE makes a LoRA of it",
        config.origin, printable(config.peft_type));
  LoraConfig lora = parse_lora_config(config);
  refuse_what_pairs_cannot_say(config, lora);
  std::map<std::string, Tensor> tensors = read_adapter_tensors(folder);
  LoraFolder out{.base_model_name_or_path = config.base_model_name_or_path, .pairs = {}};
  size_t used = 0;
  for (const auto& [key, a] : tensors)
    for (std::string_view end : kEnds) {
      if (!key.ends_with(end)) continue;
      std::string module = key.substr(0, key.size() - end.size()), other = key;
      other[other.rfind("_A") + 1] = 'B';
      auto b = tensors.find(other);
      if (b == tensors.end())
        fail_input("{}: \"{}\" is there, \"{}\" is missing", folder.string(), key, other);
      int64_t rank = lora.rank_of(module);
      if (a.rank() != 2 || b->second.rank() != 2 || a.dim(0) != rank || b->second.dim(1) != rank)
        fail_input("{}: \"{}\" is {} and \"{}\" is {}, expected rank {}", folder.string(), printable(key),
                   shape_string(a.shape()), printable(other), shape_string(b->second.shape()), rank);
      out.pairs.push_back({.module = module,
                           .embedding = end.find("embedding") != end.npos,
                           .scale = lora.scale_of(module),
                           .a = a,
                           .b = b->second});
      used += 2;
      break;
    }
  if (used != tensors.size() || out.pairs.empty())
    fail_input("{}: {} of {} tensors are LoRA factors", folder.string(), used, tensors.size());
  std::sort(out.pairs.begin(), out.pairs.end(),
            [](const LoraPair& x, const LoraPair& y) { return x.module < y.module; });
  return out;
}

void write_lora_folder(const LoraFolder& lora, const std::filesystem::path& folder, DType dtype) {
  std::map<std::string, Tensor> tensors;
  Json modules = Json::array(), ranks = Json::object();
  int64_t most = 1;
  for (const LoraPair& pair : lora.pairs) most = std::max(most, pair.rank());
  for (const LoraPair& pair : lora.pairs) {
    Tensor b = pair.b.clone(MemoryKind::kWorkspace);
    for (float& value : b.span<float>()) value = static_cast<float>(value * pair.scale);
    std::string key = std::string(kAdapterKeyPrefix) + pair.module;
    tensors[key + (pair.embedding ? ".lora_embedding_A" : ".lora_A.weight")] = pair.a.to(dtype);
    tensors[key + (pair.embedding ? ".lora_embedding_B" : ".lora_B.weight")] = b.to(dtype);
    modules.push_back(pair.module);
    if (pair.rank() != most) ranks[pair.module] = pair.rank();
  }
  Json config = {{"alpha_pattern", ranks},
                 {"auto_mapping", nullptr},
                 {"base_model_name_or_path", lora.base_model_name_or_path},
                 {"bias", "none"},
                 {"fan_in_fan_out", false},
                 {"inference_mode", true},
                 {"init_lora_weights", true},
                 {"layers_pattern", nullptr},
                 {"layers_to_transform", nullptr},
                 {"loftq_config", Json::object()},
                 {"lora_alpha", most},
                 {"lora_dropout", 0.0},
                 {"megatron_config", nullptr},
                 {"megatron_core", "megatron.core"},
                 {"modules_to_save", nullptr},
                 {"peft_type", "LORA"},
                 {"r", most},
                 {"rank_pattern", ranks},
                 {"revision", nullptr},
                 {"target_modules", modules},
                 {"task_type", "CAUSAL_LM"},
                 {"use_dora", false},
                 {"use_rslora", false}};
  write_safetensors(folder / "adapter_model.safetensors", tensors);
  write_file_atomically(folder / "adapter_config.json", config.dump(2));
}

}  // namespace fettle
