// The weights of a model or adapter folder, whatever files hold them.
#pragma once
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "fettle/formats/safetensors.h"

namespace fettle {

/// Opens, in Hugging Face's order, model.safetensors, model.safetensors.index.json, pytorch_model.bin,
/// pytorch_model.bin.index.json; or, for adapters, adapter_model.safetensors, adapter_model.bin and
/// AdapterHub's names. Shards are opened once; an index cannot lead out of the folder.
class WeightSource {
 public:
  static WeightSource open_model(const std::filesystem::path& folder);
  static WeightSource open_adapter(const std::filesystem::path& folder);

  struct Entry {
    TensorInfo info;
    std::filesystem::path file;
  };
  std::vector<std::string> names() const;
  bool has(const std::string& name) const { return find(name) != nullptr; }
  /// Error(kBadInput) naming the folder when there is no such tensor.
  Entry entry(const std::string& name) const;
  /// Mapped where the file allows it.
  Tensor tensor(const std::string& name) const;
  /// The tensor's pages are not needed for now; nothing for files that are not mapped.
  void forget(const std::string& name) const;
  /// Bytes of all tensors.
  uint64_t total_bytes() const;
  /// Things worth telling the user, such as two sets of weights in one folder.
  const std::vector<std::string>& notes() const { return notes_; }
  const std::filesystem::path& folder() const { return folder_; }

 private:
  struct File {
    virtual ~File() = default;
    virtual const std::map<std::string, TensorInfo>& tensors() const = 0;
    virtual Tensor tensor(const std::string& name) const = 0;
    virtual void forget(const std::string& name) const {}
    std::filesystem::path path;
  };
  struct Safetensors;
  struct Torch;
  struct Place {
    const File* file;
    std::string name;  ///< inside the file
  };
  static std::shared_ptr<File> open_file(const std::filesystem::path& path);
  void add_file(const std::filesystem::path& path);
  void add_index(const std::filesystem::path& path);
  void add_missing_prefix();
  const Place* find(const std::string& name) const;

  std::filesystem::path folder_;
  std::vector<std::shared_ptr<File>> files_;
  std::map<std::string, Place> places_;
  std::vector<std::string> notes_;
};

}  // namespace fettle
