// Adapter folders: adapter_config.json, adapter_model.safetensors or .bin, README.md.
#include <algorithm>
#include <set>

#include "fettle/base/error.h"
#include "fettle/base/file.h"
#include "fettle/formats/weight_source.h"
#include "fettle/peft/adapter.h"
#include "fettle/peft/lora_folder.h"
#include "fettle/peft/methods.h"

namespace fettle {
namespace {

constexpr std::string_view kPrefix = kAdapterKeyPrefix;

// Names of a method's own tensors. PEFT of several releases and other trainers write the adapter's name
// behind them ("lora_A.default.weight"), and some with, some without ".weight".
const std::set<std::string>& method_components() {
  static const std::set<std::string> kNames = {"lora_A",
                                               "lora_B",
                                               "lora_E",
                                               "lora_embedding_A",
                                               "lora_embedding_B",
                                               "lora_magnitude_vector",
                                               "hada_w1_a",
                                               "hada_w1_b",
                                               "hada_w2_a",
                                               "hada_w2_b",
                                               "lokr_w1",
                                               "lokr_w1_a",
                                               "lokr_w1_b",
                                               "lokr_w2",
                                               "lokr_w2_a",
                                               "lokr_w2_b",
                                               "ia3_l",
                                               "vera_lambda_b",
                                               "vera_A",
                                               "vera_B",
                                               "boft_R",
                                               "beft_bias",
                                               "boft_s",
                                               "oft_R",
                                               "vera_lambda_d",
                                               "trainable_tokens_delta",
                                               "ln_tuning_layers"};
  return kNames;
}

// Without "base_model.model.", adapter names and wrappers: "model.layers.0.self_attn.q_proj.lora_A.weight".
std::string plain_key(std::string key) {
  constexpr std::string_view kWrapper = "base_model.";
  if (key.starts_with(kPrefix))
    key = key.substr(kPrefix.size());
  else if (key.starts_with(kWrapper))
    key = key.substr(kWrapper.size());
  std::vector<std::string> parts;
  for (size_t begin = 0; begin <= key.size();) {
    size_t end = std::min(key.find('.', begin), key.size());
    parts.push_back(key.substr(begin, end - begin));
    begin = end + 1;
  }
  std::vector<std::string> kept;
  for (size_t i = 0; i < parts.size(); ++i) {
    if (parts[i] == "modules_to_save" && i + 2 < parts.size()) {
      ++i;  // and the adapter's name
      continue;
    }
    if (parts[i] == "adapters" && i > 0 && parts[i - 1].ends_with("_adapters") && i + 2 < parts.size()) {
      ++i;  // AdapterHub's, and the adapter's name
      continue;
    }
    kept.push_back(parts[i]);
    if (parts[i] == "adapter_fusion_layer" && i + 2 < parts.size()) ++i;  // and the name of the fusion
    if (method_components().contains(parts[i]) && i + 1 < parts.size() && parts[i + 1] != "weight" &&
        parts[i + 1] != "bias")
      ++i;
  }
  return fmt::format("{}", fmt::join(kept, "."));
}

std::string with_or_without_weight(const std::string& key) {
  constexpr std::string_view kWeight = ".weight";
  return key.ends_with(kWeight) ? key.substr(0, key.size() - kWeight.size()) : key + std::string(kWeight);
}

}  // namespace

std::unique_ptr<Adapter> Adapter::load(CausalLM& model, const std::filesystem::path& folder) {
  AdapterConfig config = AdapterConfig::read(folder);
  AdapterMaker make = adapter_kind(config).make;
  std::unique_ptr<Adapter> adapter = make(model, std::move(config));
  adapter->mount();
  adapter->finish_loading(folder);
  return adapter;
}

std::map<std::string, Tensor> read_adapter_tensors(const std::filesystem::path& folder) {
  WeightSource source = WeightSource::open_adapter(folder);
  std::map<std::string, Tensor> tensors;
  for (const std::string& name : source.names()) {
    std::string key = plain_key(name);
    // PEFT's own copy of the untouched module is of no use.
    if (key.find(".original_module.") != key.npos) continue;
    Tensor value = source.tensor(name);
    if (!is_floating(value.dtype()))
      fail_input("{}: \"{}\" is {}, expected f32, f16 or bf16", folder.string(), printable(name),
                 dtype_name(value.dtype()));
    if (!tensors.emplace(key, value.to(DType::kF32)).second)
      fail_input("{}: \"{}\" stands there twice under different spellings", folder.string(), printable(key));
  }
  return tensors;
}

void Adapter::finish_loading(const std::filesystem::path& folder) {
  std::map<std::string, Tensor> tensors = read_adapter_tensors(folder);
  take_tensors(tensors, folder.string());
  // What is left are weights of the base that were trained in full (modules_to_save, biases) or saved along
  // with an adapted embedding.
  for (auto it = tensors.begin(); it != tensors.end();)
    it = adopt_base_weight(it->first, it->second) ? tensors.erase(it) : std::next(it);
  if (!tensors.empty())
    fail_input(
        "{}: \"{}\" ({} such tensors) belongs to no module of {} that the adapter targets; was it trained on "
        "another base model?",
        folder.string(), printable(tensors.begin()->first), tensors.size(), model_.config().architecture);
  for (const std::string& name : config_.modules_to_save) {
    bool found = name == "classifier" || name == "score";
    for (const Replacement& r : replacements_)
      found = found || ("." + r.copy->name).find("." + name + ".") != std::string::npos;
    if (!found)
      fail_input("{}: modules_to_save names \"{}\", but the file has no weights for it", folder.string(),
                 printable(name));
  }
}

bool Adapter::adopt_base_weight(const std::string& key, const Tensor& value) {
  std::string plain = key;
  if (size_t at = plain.find(".base_layer."); at != plain.npos) plain.erase(at, 11);
  auto adopt = [&](std::shared_ptr<Parameter>& place, const std::string& name) {
    if (plain != name) return false;
    if (value.shape() != place->shape)
      fail_input("{}: \"{}\" is {}, this base model has {}; was the adapter trained on another base model?",
                 config_.origin, printable(key), shape_string(value.shape()), shape_string(place->shape));
    Tensor f32 = value.to(DType::kF32);
    replace(place, key).value.assign(f32.raw(), f32.nbytes());
    return true;
  };
  for (Linear* linear : model_.linears())
    if (adopt(linear->weight, linear->path + ".weight") ||
        (linear->bias && adopt(linear->bias, linear->path + ".bias")))
      return true;
  for (Embedding* embedding : model_.embeddings())
    if (adopt(embedding->weight, embedding->path + ".weight")) return true;
  for (Norm* norm : model_.norms())
    if (adopt(norm->weight, norm->path + ".weight") ||
        (norm->bias && adopt(norm->bias, norm->path + ".bias")))
      return true;
  return false;
}

void Adapter::take_tensors(std::map<std::string, Tensor>& tensors, const std::string& folder) {
  for (Parameter* parameter : parameters()) {
    auto found = tensors.find(parameter->name);
    if (found == tensors.end()) found = tensors.find(with_or_without_weight(parameter->name));
    if (found == tensors.end())
      fail_input("{}: \"{}{}\" is missing; was the adapter trained on another base model?", folder, kPrefix,
                 parameter->name);
    if (found->second.shape() != parameter->shape)
      fail_input("{}: \"{}\" is {}, this base model needs {}; was the adapter trained on another base model?",
                 folder, printable(found->first), shape_string(found->second.shape()),
                 shape_string(parameter->shape));
    Tensor f32 = found->second.to(DType::kF32);
    parameter->value.assign(f32.raw(), f32.nbytes());
    tensors.erase(found);
  }
}

std::map<std::string, Tensor> Adapter::saved_tensors() const {
  std::map<std::string, Tensor> tensors;
  for (const Parameter* parameter : parameters())
    tensors[std::string(kPrefix) + parameter->name] = parameter->value;
  return tensors;
}

std::string Adapter::tag() const {
  std::string tag = config_.peft_type;
  for (char& c : tag) c = c == '_' ? '-' : static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return tag;
}

void Adapter::save(const std::filesystem::path& folder) const {
  write_safetensors(folder / "adapter_model.safetensors", saved_tensors());

  const std::string& base = config_.base_model_name_or_path;
  Json json = saved_keys();
  json["peft_type"] = config_.peft_type;
  json["task_type"] = config_.task_type;
  json["base_model_name_or_path"] = base;
  json["inference_mode"] = true;
  json["auto_mapping"] = nullptr;
  json["revision"] = nullptr;
  if (has_modules_to_save())
    json["modules_to_save"] = config_.modules_to_save.empty() ? Json() : Json(config_.modules_to_save);
  write_file_atomically(folder / "adapter_config.json", json.dump(2));
  write_file_atomically(
      folder / "README.md",
      fmt::format(
          "---\nbase_model: {0}\nlibrary_name: peft\npipeline_tag: text-generation\ntags:\n- {1}\n---\n\n"
          "# Adapter\n\n{2}, trained with Fettle. Load it with PEFT, or talk to it with\n\n"
          "    fettle chat --model {0} --adapter <this folder>\n",
          base, tag(), description()));
}

}  // namespace fettle
