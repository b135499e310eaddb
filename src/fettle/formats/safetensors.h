// safetensors files: read by mapping, written tensor by tensor.
// Format: https://github.com/huggingface/safetensors (8-byte header length, JSON header, data without holes).
#pragma once
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "fettle/base/file.h"
#include "fettle/tensor/tensor.h"

namespace fettle {

using Metadata = std::map<std::string, std::string>;

/// What a file says of one tensor.
struct TensorInfo {
  std::string dtype_name;      ///< as written in the file: "BF16", "I8", …
  std::optional<DType> dtype;  ///< empty when this program has no such type; then only listing is possible
  Shape shape;
  uint64_t begin = 0, end = 0;  ///< byte range in the data section (safetensors) or the file (torch archives)
};

/// A mapped file whose header has been checked completely: every tensor lies inside the file, sizes agree
/// with shapes, nothing overlaps, nothing is left over. Tensors share the mapping.
class SafetensorsFile {
 public:
  /// Error(kBadInput) naming the file and the tensor or field.
  explicit SafetensorsFile(const std::filesystem::path& path);
  const std::filesystem::path& path() const { return file_.path(); }
  const std::map<std::string, TensorInfo>& tensors() const { return tensors_; }
  const Metadata& metadata() const { return metadata_; }
  /// Zero-copy where the data is aligned for its type, else a copy.
  Tensor tensor(const std::string& name) const;
  /// Gives the memory of a tensor's pages back; reading it again brings them back from the file.
  void forget(const std::string& name) const;

 private:
  void check_layout(uint64_t data_size) const;
  MappedFile file_;
  std::map<std::string, TensorInfo> tensors_;
  Metadata metadata_;
  uint64_t data_begin_ = 0;
};

/// Writes a file whose tensors are declared first and then given in the order of the declaration, so that
/// memory holds one tensor at a time. Whole or absent: the name appears on commit().
class SafetensorsWriter {
 public:
  struct Declaration {
    std::string name;
    DType dtype;
    Shape shape;
  };
  SafetensorsWriter(const std::filesystem::path& path, std::vector<Declaration> tensors,
                    const Metadata& metadata = {{"format", "pt"}});
  /// The next tensor of the declaration; dtype and shape must agree.
  void write(const Tensor& tensor);
  void commit();

 private:
  AtomicFile file_;
  std::vector<Declaration> tensors_;
  size_t next_ = 0;
};

/// All at once, names sorted.
void write_safetensors(const std::filesystem::path& path, const std::map<std::string, Tensor>& tensors,
                       const Metadata& metadata = {{"format", "pt"}});

}  // namespace fettle
