#include "fettle/models/saver.h"

#include <unistd.h>

#include <future>
#include <nlohmann/json.hpp>

#include "fettle/base/error.h"
#include "fettle/base/file.h"
#include "fettle/formats/safetensors.h"
#include "fettle/models/quantized_files.h"

namespace fettle {
namespace fs = std::filesystem;
namespace {

uint64_t bytes_of(const SavedTensor& tensor) {
  uint64_t bytes = dtype_size(tensor.dtype);
  for (int64_t d : tensor.shape) bytes *= static_cast<uint64_t>(d);
  return bytes;
}

bool is_weight_file(const fs::path& file) {
  std::string name = file.filename().string(), extension = file.extension().string();
  return extension == ".safetensors" || extension == ".bin" || extension == ".pth" || extension == ".pt" ||
         extension == ".gguf" || extension == ".h5" || extension == ".msgpack" || extension == ".onnx" ||
         name.ends_with(".index.json");
}

}  // namespace

void write_weights(const fs::path& folder, const std::vector<SavedTensor>& tensors, uint64_t max_shard_bytes,
                   const std::function<void(uint64_t, uint64_t)>& progress) {
  std::vector<std::vector<const SavedTensor*>> shards(1);
  uint64_t total = 0, in_shard = 0, done = 0;
  for (const SavedTensor& tensor : tensors) {
    uint64_t bytes = bytes_of(tensor);
    if (in_shard > 0 && in_shard + bytes > max_shard_bytes) {
      shards.emplace_back();
      in_shard = 0;
    }
    shards.back().push_back(&tensor);
    in_shard += bytes;
    total += bytes;
  }
  Json map = Json::object();
  for (size_t s = 0; s < shards.size(); ++s) {
    std::string name = shards.size() == 1
                           ? "model.safetensors"
                           : fmt::format("model-{:05}-of-{:05}.safetensors", s + 1, shards.size());
    std::vector<SafetensorsWriter::Declaration> declarations;
    for (const SavedTensor* tensor : shards[s]) {
      declarations.push_back({tensor->name, tensor->dtype, tensor->shape});
      map[tensor->name] = name;
    }
    SafetensorsWriter writer(folder / name, std::move(declarations));
    // One tensor is written while the next is made.
    std::future<void> writing;
    uint64_t being_written = 0;
    auto written = [&] {
      if (!writing.valid()) return;
      writing.get();
      done += being_written;
      if (progress) progress(done, total);
    };
    for (const SavedTensor* tensor : shards[s]) {
      Tensor value = tensor->value();
      written();
      being_written = bytes_of(*tensor);
      // Deferred, so by this thread, where the system gives no other.
      writing = std::async(std::launch::async | std::launch::deferred,
                           [&writer, value = std::move(value)] { writer.write(value); });
    }
    written();
    writer.commit();
  }
  if (shards.size() > 1) {
    Json index = {{"metadata", {{"total_size", total}}}, {"weight_map", map}};
    write_file_atomically(folder / "model.safetensors.index.json", index.dump(2) + "\n");
  }
}

std::vector<fs::path> accompanying_files(const fs::path& folder) {
  std::vector<fs::path> files;
  // Only what stands in the folder itself; caches and hidden folders of download tools stay behind.
  for (const fs::directory_entry& entry : fs::directory_iterator(folder))
    if (entry.is_regular_file() && !is_weight_file(entry.path()) &&
        !entry.path().filename().string().starts_with('.'))
      files.push_back(entry.path());
  return files;
}

void copy_model_files(const fs::path& from, const fs::path& to, DType dtype, bool untie) {
  for (const fs::path& file : accompanying_files(from)) {
    if (file.filename() == "config.json") {
      OrderedJson config = parse_ordered_json(read_file(file), file.string());
      const char* name = dtype == DType::kBF16 ? "bfloat16" : dtype == DType::kF16 ? "float16" : "float32";
      config[config.contains("dtype") ? "dtype" : "torch_dtype"] = name;
      if (untie) config["tie_word_embeddings"] = false;
      config.erase("quantization_config");  // whoever writes quantised weights puts it back
      write_file_atomically(to / "config.json", config.dump(2) + "\n");
      continue;
    }
    copy_file_atomically(file, to / file.filename());
  }
}

void save_model(CausalLM& model, const fs::path& base, const fs::path& folder, DType dtype) {
  std::vector<SavedTensor> tensors;
  for (Parameter* parameter : model.parameters())
    tensors.push_back({parameter->name, dtype, parameter->shape,
                       [parameter, dtype] { return parameter->value.to(dtype, MemoryKind::kWorkspace); }});
  write_weights(folder, tensors, uint64_t{5} << 30, {});
  copy_model_files(base, folder, dtype);
}

void save_quantized_model(CausalLM& model, const fs::path& base, const fs::path& folder,
                          uint64_t max_shard_bytes, const std::function<void(uint64_t, uint64_t)>& progress) {
  std::vector<SavedTensor> tensors;
  const QuantizedMatrix* any = nullptr;
  DType dtype = DType::kF32;
  for (Parameter* parameter : model.parameters()) {
    if (!parameter->quantized) {
      Tensor value = parameter->value;
      dtype = value.dtype();
      tensors.push_back({parameter->name, dtype, parameter->shape, [value] { return value; }});
      continue;
    }
    any = parameter->quantized.get();
    for (const auto& [name, part] : stored_parts(parameter->name, *parameter->quantized))
      tensors.push_back({name, part.dtype(), part.shape(), [part = part] { return part; }});
  }
  FETTLE_CHECK(any, "nothing is quantised");
  write_weights(folder, tensors, max_shard_bytes, progress);
  copy_model_files(base, folder, dtype);
  OrderedJson config =
      parse_ordered_json(read_file(folder / "config.json"), (folder / "config.json").string());
  config["quantization_config"] = quantization_config(*any, {model.head().path});
  write_file_atomically(folder / "config.json", config.dump(2) + "\n");
}

StagedFolder::StagedFolder(fs::path target) : target_(std::move(target)) {
  if (!target_.has_filename()) target_ = target_.parent_path();  // "folder/" names the same folder
  if (fs::exists(target_) && !(fs::is_directory(target_) && fs::is_empty(target_)))
    fail_usage("{}: already exists and is not empty; name another folder or remove it", target_.string());
  staging_ = target_;
  staging_ += fmt::format(".{}.tmp", getpid());
  std::error_code error;
  fs::create_directories(staging_, error);
  if (error) fail_resources("{}: cannot create: {}", staging_.string(), error.message());
}

StagedFolder::~StagedFolder() {
  std::error_code ignored;
  if (!done_) fs::remove_all(staging_, ignored);
}

void StagedFolder::commit() {
  std::error_code error;
  sync_path(staging_);
  if (fs::exists(target_)) fs::remove(target_, error);
  fs::rename(staging_, target_, error);
  if (error) fail_resources("{}: cannot give the folder its name: {}", target_.string(), error.message());
  done_ = true;
  sync_path(target_.parent_path());
}

}  // namespace fettle
