#include "fettle/formats/foreign_file.h"

#include <algorithm>

#include "fettle/base/error.h"

namespace fettle {

std::string_view first_bytes(const MappedFile& file, size_t count) {
  std::span<const std::byte> bytes = file.bytes();
  return {reinterpret_cast<const char*>(bytes.data()), std::min(count, bytes.size())};
}

std::string foreign_file_hint(const MappedFile& file, std::string_view expected) {
  std::string_view start = first_bytes(file, 256);
  std::string what;
  if (start.empty()) return "the file is empty; download it again";
  if (start.starts_with("version https://git-lfs"))
    return "this is a Git LFS pointer, not the file itself; run \"git lfs pull\" in its folder or download "
           "it again";
  if (start.starts_with("<!DOCTYPE") || start.starts_with("<!doctype") || start.starts_with("<html"))
    return "this is a web page, not the file itself; download it again";
  if (start.starts_with("GGUF")) return fmt::format("this is a GGUF file, expected {}", expected);
  if (start.starts_with("PK\3\4"))
    return fmt::format("this is a zip or torch archive, expected {}; its name should end in .bin or .pth",
                       expected);
  if (std::string_view(start).substr(0, 2) == "\x1f\x8b")
    return fmt::format("this is a gzip file, expected {}; unpack it first", expected);
  if (start.size() > 8 && start[8] == '{' && start.substr(5, 3) == std::string_view("\0\0\0", 3))
    return fmt::format("this looks like a safetensors file, expected {}; its name should end in .safetensors",
                       expected);
  return fmt::format("this is not {}", expected);
}

}  // namespace fettle
