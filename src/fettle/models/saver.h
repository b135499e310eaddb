// Hugging Face model folders, written tensor by tensor.
#pragma once
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "fettle/models/causal_lm.h"

namespace fettle {

/// A tensor to be saved; `value` is called once, when its turn comes, so that memory holds one tensor at a
/// time.
struct SavedTensor {
  std::string name;
  DType dtype;
  Shape shape;
  std::function<Tensor()> value;
};

/// Writes model.safetensors, or shards of at most `max_shard_bytes` with their index, into an existing
/// folder.
void write_weights(const std::filesystem::path& folder, const std::vector<SavedTensor>& tensors,
                   uint64_t max_shard_bytes, const std::function<void(uint64_t, uint64_t)>& progress);

/// Everything of a model folder that is not weights: configuration, tokenizer, licence …
std::vector<std::filesystem::path> accompanying_files(const std::filesystem::path& folder);

/// Copies everything of a model folder that is not weights (configuration, tokenizer, licence …); config.json
/// gets `dtype` as torch_dtype and, with `untie`, tie_word_embeddings = false.
void copy_model_files(const std::filesystem::path& from, const std::filesystem::path& to, DType dtype,
                      bool untie = false);

/// The model's own weights in `dtype`, with the base folder's other files, into an existing folder.
void save_model(CausalLM& model, const std::filesystem::path& base, const std::filesystem::path& folder,
                DType dtype);

/// The model as it is held, quantised linears in the layout of bitsandbytes, which Transformers loads.
void save_quantized_model(CausalLM& model, const std::filesystem::path& base,
                          const std::filesystem::path& folder, uint64_t max_shard_bytes,
                          const std::function<void(uint64_t, uint64_t)>& progress);

/// A folder that gets its name only when commit() is called; otherwise it disappears. The name must be free,
/// or an empty folder: Error(kUsage).
class StagedFolder {
 public:
  explicit StagedFolder(std::filesystem::path target);
  ~StagedFolder();
  StagedFolder(const StagedFolder&) = delete;
  StagedFolder& operator=(const StagedFolder&) = delete;
  const std::filesystem::path& path() const { return staging_; }
  void commit();

 private:
  std::filesystem::path target_, staging_;
  bool done_ = false;
};

}  // namespace fettle
