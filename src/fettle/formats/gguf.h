// GGUF files (ggml/docs/gguf.md, versions 2 and 3, little-endian): metadata and the table of tensors.
#pragma once
#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "fettle/base/file.h"

namespace fettle {

struct GgufTensor {
  std::vector<int64_t> shape;  ///< as GGUF writes it: the fastest dimension first
  uint32_t type = 0;           ///< ggml_type
  uint64_t offset = 0;         ///< from the start of the file
};

class GgufFile {
 public:
  using Value = std::variant<int64_t, uint64_t, double, bool, std::string, std::vector<std::string>,
                             std::vector<int64_t>, std::vector<double>>;

  /// Error(kBadInput) with the byte offset for damage, other versions, nested arrays, and sizes beyond the
  /// file.
  explicit GgufFile(const std::filesystem::path& path);

  const std::filesystem::path& path() const { return file_.path(); }
  const std::map<std::string, Value, std::less<>>& metadata() const { return metadata_; }
  const std::map<std::string, GgufTensor, std::less<>>& tensors() const { return tensors_; }
  /// Null when there is no such key or it holds something else.
  template <typename T>
  const T* find(std::string_view key) const {
    auto found = metadata_.find(key);
    return found == metadata_.end() ? nullptr : std::get_if<T>(&found->second);
  }
  /// An integer of any width; nothing when the key is missing or holds something else.
  std::optional<int64_t> integer(std::string_view key) const;

 private:
  MappedFile file_;
  std::map<std::string, Value, std::less<>> metadata_;
  std::map<std::string, GgufTensor, std::less<>> tensors_;
};

}  // namespace fettle
