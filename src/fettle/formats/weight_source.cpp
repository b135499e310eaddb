#include "fettle/formats/weight_source.h"

#include <nlohmann/json.hpp>

#include "fettle/base/error.h"
#include "fettle/base/file.h"
#include "fettle/base/json.h"
#include "fettle/formats/torch_archive.h"

namespace fettle {
namespace fs = std::filesystem;
namespace {

constexpr uint64_t kMaxIndex = 100'000'000;

// A name that the system cannot even look up (too long, no permission) is not there.
bool is_there(const fs::path& path) {
  std::error_code ignored;
  return fs::exists(path, ignored);
}

}  // namespace

struct WeightSource::Safetensors final : File {
  explicit Safetensors(const fs::path& path) : file(path) {}
  const std::map<std::string, TensorInfo>& tensors() const override { return file.tensors(); }
  Tensor tensor(const std::string& name) const override { return file.tensor(name); }
  void forget(const std::string& name) const override { file.forget(name); }
  SafetensorsFile file;
};

struct WeightSource::Torch final : File {
  explicit Torch(const fs::path& path) : file(path) {}
  const std::map<std::string, TensorInfo>& tensors() const override { return file.tensors(); }
  Tensor tensor(const std::string& name) const override { return file.tensor(name); }
  TorchArchive file;
};

std::shared_ptr<WeightSource::File> WeightSource::open_file(const fs::path& path) {
  std::shared_ptr<File> file;
  if (path.extension() == ".safetensors")
    file = std::make_shared<Safetensors>(path);
  else
    file = std::make_shared<Torch>(path);
  file->path = path;
  return file;
}

void WeightSource::add_file(const fs::path& path) {
  files_.push_back(open_file(path));
  for (const auto& [name, info] : files_.back()->tensors()) places_[name] = {files_.back().get(), name};
}

void WeightSource::add_index(const fs::path& path) {
  std::string origin = path.string();
  Json index = parse_json(read_file(path, kMaxIndex), origin);
  if (!index.is_object() || !index.contains("weight_map") || !index["weight_map"].is_object())
    fail_input("{}: weight_map is missing or not an object", origin);
  std::map<std::string, const File*> shards;
  std::vector<std::string> missing;
  size_t missing_count = 0;
  auto miss = [&](std::string what) {
    if (missing_count++ < 10) missing.push_back(std::move(what));
  };
  for (const auto& [tensor, value] : index["weight_map"].items()) {
    if (!value.is_string())
      fail_input("{}: weight_map[\"{}\"] is not a file name", origin, printable(tensor));
    std::string name = value.get<std::string>();
    if (!is_contained_path(name))
      fail_input("{}: weight_map[\"{}\"] = \"{}\" leads outside the model folder", origin, printable(tensor),
                 printable(name));
    if (!shards.contains(name)) {
      fs::path file = folder_ / name;
      shards[name] = nullptr;
      if (!is_there(file)) {
        miss("file " + printable(name));
      } else {
        // A model cache of links into a store beside the folder is common, so links are followed, but only to
        // regular files.
        files_.push_back(open_file(file));
        shards[name] = files_.back().get();
      }
    }
    const File* file = shards[name];
    if (!file) continue;
    if (!file->tensors().contains(tensor))
      miss(fmt::format("tensor \"{}\" in {}", printable(tensor), printable(name)));
    else
      places_[tensor] = {file, tensor};
  }
  if (missing_count > 0)
    fail_input("{}: {} missing: {}{}; download the model again", origin, missing_count,
               fmt::format("{}", fmt::join(missing, ", ")), missing_count > missing.size() ? ", …" : "");
  if (index.contains("metadata") && index["metadata"].is_object() &&
      index["metadata"].contains("total_size")) {
    const Json& stated = index["metadata"]["total_size"];
    uint64_t total = total_bytes();
    if (!stated.is_number() || stated.get<double>() != static_cast<double>(total))
      notes_.push_back(fmt::format("{}: metadata.total_size is {}, the tensors take {} bytes", origin,
                                   printable(stated.dump(-1, ' ', true), 40), total));
  }
}

WeightSource WeightSource::open_model(const fs::path& folder) {
  WeightSource source;
  source.folder_ = folder;
  struct Kind {
    const char* name;
    bool index;
  };
  constexpr Kind kKinds[] = {{"model.safetensors", false},
                             {"model.safetensors.index.json", true},
                             {"pytorch_model.bin", false},
                             {"pytorch_model.bin.index.json", true}};
  const Kind* chosen = nullptr;
  for (const Kind& kind : kKinds) {
    if (!is_there(folder / kind.name)) continue;
    if (!chosen) {
      chosen = &kind;
      if (kind.index)
        source.add_index(folder / kind.name);
      else
        source.add_file(folder / kind.name);
    } else if (std::string_view(kind.name).starts_with("model") ==
               std::string_view(chosen->name).starts_with("model")) {
      source.notes_.push_back(fmt::format("{} holds both {} and {}; {} is used", folder.string(),
                                          chosen->name, kind.name, chosen->name));
    }
  }
  if (!chosen)
    fail_input(
        "{}: no weights: expected model.safetensors, model.safetensors.index.json, pytorch_model.bin or "
        "pytorch_model.bin.index.json",
        folder.string());
  source.add_missing_prefix();
  return source;
}

// GPT-2 folders saved from the model without its head leave out "transformer.", which Transformers adds when
// it loads.
void WeightSource::add_missing_prefix() {
  if (!places_.contains("wte.weight") || !places_.contains("wpe.weight")) return;
  std::map<std::string, Place> prefixed;
  for (auto& [name, place] : places_)
    prefixed[name.starts_with("lm_head.") ? name : "transformer." + name] = place;
  places_ = std::move(prefixed);
}

WeightSource WeightSource::open_adapter(const fs::path& folder) {
  WeightSource source;
  source.folder_ = folder;
  for (const char* name :
       {"adapter_model.safetensors", "adapter_model.bin", "adapter.safetensors", "pytorch_adapter.bin",
        "model_adapter_fusion.safetensors", "pytorch_model_adapter_fusion.bin"})
    if (is_there(folder / name)) {
      source.add_file(folder / name);
      return source;
    }
  fail_input(
      "{}: no adapter weights: expected adapter_model.safetensors or adapter_model.bin (PEFT), "
      "adapter.safetensors or pytorch_adapter.bin (AdapterHub)",
      folder.string());
}

const WeightSource::Place* WeightSource::find(const std::string& name) const {
  auto found = places_.find(name);
  return found == places_.end() ? nullptr : &found->second;
}

std::vector<std::string> WeightSource::names() const {
  std::vector<std::string> names;
  for (const auto& [name, place] : places_) names.push_back(name);
  return names;
}

WeightSource::Entry WeightSource::entry(const std::string& name) const {
  const Place* place = find(name);
  if (!place) fail_input("{}: no tensor \"{}\"", folder_.string(), printable(name));
  return {place->file->tensors().at(place->name), place->file->path};
}

Tensor WeightSource::tensor(const std::string& name) const {
  const Place* place = find(name);
  if (!place) fail_input("{}: no tensor \"{}\"", folder_.string(), printable(name));
  return place->file->tensor(place->name);
}

void WeightSource::forget(const std::string& name) const {
  if (const Place* place = find(name)) place->file->forget(place->name);
}

uint64_t WeightSource::total_bytes() const {
  uint64_t total = 0;
  for (const auto& [name, place] : places_) {
    const TensorInfo& info = place.file->tensors().at(place.name);
    total += info.end - info.begin;
  }
  return total;
}

}  // namespace fettle
