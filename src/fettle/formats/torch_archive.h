// torch.save archives (pytorch_model.bin, .pth), read without executing anything.
//
// A .bin file is a zip whose data.pkl is a pickle program. The reader here knows the few opcodes and the few
// globals that a state dict of tensors needs, builds plain values from them, and refuses everything else by
// name.
#pragma once
#include <filesystem>
#include <map>
#include <memory>
#include <string>

#include "fettle/formats/safetensors.h"

namespace fettle {

/// A state dict. Nested dicts become dotted names. Storages are mapped from the file; strided views are made
/// contiguous.
class TorchArchive {
 public:
  /// Error(kBadInput) naming the file and the opcode, global or zip entry that cannot be used.
  explicit TorchArchive(const std::filesystem::path& path);
  const std::map<std::string, TensorInfo>& tensors() const { return tensors_; }
  Tensor tensor(const std::string& name) const;

 private:
  MappedFile file_;
  std::map<std::string, TensorInfo> tensors_;
  std::map<std::string, Shape> strides_;  ///< in elements
};

}  // namespace fettle
