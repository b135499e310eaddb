#include "fettle/formats/gguf.h"

#include <bit>
#include <cstring>
#include <optional>

#include "fettle/base/error.h"

namespace fettle {
namespace {

enum Type : uint32_t {
  kUint8,
  kInt8,
  kUint16,
  kInt16,
  kUint32,
  kInt32,
  kFloat32,
  kBool,
  kString,
  kArray,
  kUint64,
  kInt64,
  kFloat64
};

/// Reads forward and never behind the end.
class Reader {
 public:
  Reader(std::span<const std::byte> bytes, std::string origin) : bytes_(bytes), origin_(std::move(origin)) {}

  template <typename T>
  T number(const char* what) {
    T value;
    std::memcpy(&value, take(sizeof(T), what), sizeof(T));
    return value;
  }
  std::string text(const char* what) {
    uint64_t length = number<uint64_t>(what);
    const std::byte* data = take(length, what);
    return std::string(reinterpret_cast<const char*>(data), length);
  }
  GgufFile::Value value(uint32_t type, const std::string& key) {
    switch (type) {
      case kUint8:
        return uint64_t{number<uint8_t>("a value")};
      case kInt8:
        return int64_t{number<int8_t>("a value")};
      case kUint16:
        return uint64_t{number<uint16_t>("a value")};
      case kInt16:
        return int64_t{number<int16_t>("a value")};
      case kUint32:
        return uint64_t{number<uint32_t>("a value")};
      case kInt32:
        return int64_t{number<int32_t>("a value")};
      case kFloat32:
        return double{number<float>("a value")};
      case kBool:
        return number<uint8_t>("a value") != 0;
      case kString:
        return text("a text");
      case kUint64:
        return number<uint64_t>("a value");
      case kInt64:
        return number<int64_t>("a value");
      case kFloat64:
        return number<double>("a value");
      case kArray:
        return array(key);
    }
    fail_input("{}: \"{}\" has the unknown type {} before byte {}", origin_, printable(key), type, at_);
  }
  /// Refuses counts that the rest of the file cannot hold.
  uint64_t count(uint64_t size_of_one, const std::string& what) {
    uint64_t count = number<uint64_t>("a count");
    if (count > (bytes_.size() - at_) / size_of_one)
      fail_input("{}: {} {} are announced before byte {}, the file cannot hold them", origin_, count, what,
                 at_);
    return count;
  }
  size_t at() const { return at_; }
  const std::string& origin() const { return origin_; }

 private:
  const std::byte* take(uint64_t size, const char* what) {
    if (size > bytes_.size() - at_)
      fail_input("{}: the file ends inside of {} at byte {} (it says {} bytes)", origin_, what, at_, size);
    const std::byte* data = bytes_.data() + at_;
    at_ += size;
    return data;
  }
  GgufFile::Value array(const std::string& key) {
    uint32_t type = number<uint32_t>("an array");
    if (type == kArray)
      fail_input("{}: \"{}\" is an array of arrays, which is not supported", origin_, printable(key));
    static constexpr uint64_t kSizes[] = {1, 1, 2, 2, 4, 4, 4, 1, 8, 0, 8, 8, 8};
    if (type > kFloat64)
      fail_input("{}: \"{}\" has the unknown element type {}", origin_, printable(key), type);
    uint64_t n = count(kSizes[type], "elements of \"" + printable(key) + "\"");
    if (type == kString) {
      std::vector<std::string> texts;
      texts.reserve(n);
      for (uint64_t i = 0; i < n; ++i) texts.push_back(text("a text"));
      return texts;
    }
    if (type == kFloat32 || type == kFloat64) {
      std::vector<double> reals(n);
      for (double& real : reals) real = std::get<double>(value(type, key));
      return reals;
    }
    std::vector<int64_t> integers(n);
    for (int64_t& integer : integers)
      std::visit(
          [&](const auto& element) {
            if constexpr (std::is_arithmetic_v<std::decay_t<decltype(element)>>)
              integer = static_cast<int64_t>(element);
          },
          value(type, key));
    return integers;
  }

  std::span<const std::byte> bytes_;
  std::string origin_;
  size_t at_ = 0;
};

}  // namespace

GgufFile::GgufFile(const std::filesystem::path& path) : file_(path) {
  static_assert(std::endian::native == std::endian::little);
  Reader reader(file_.bytes(), path.string());
  if (file_.size() < 24 || std::memcmp(file_.bytes().data(), "GGUF", 4) != 0)
    fail_input("{}: not a GGUF file", path.string());
  reader.number<uint32_t>("the magic");
  uint32_t version = reader.number<uint32_t>("the version");
  if (version != 2 && version != 3)
    fail_input("{}: GGUF version {}, expected 2 or 3 (little-endian)", path.string(), version);
  uint64_t tensors = reader.count(24, "tensors");
  uint64_t entries = reader.count(13, "entries of metadata");
  for (uint64_t i = 0; i < entries; ++i) {
    std::string key = reader.text("a key");
    if (key.size() > 65535) fail_input("{}: a key has {} bytes, at most 65535", path.string(), key.size());
    uint32_t type = reader.number<uint32_t>("a type");
    if (!metadata_.emplace(key, reader.value(type, key)).second)
      fail_input("{}: the key \"{}\" stands there twice", path.string(), printable(key));
  }
  for (uint64_t i = 0; i < tensors; ++i) {
    std::string name = reader.text("the name of a tensor");
    uint32_t dimensions = reader.number<uint32_t>("a tensor");
    if (dimensions > 4)
      fail_input("{}: tensor \"{}\" has {} dimensions, at most 4", path.string(), printable(name),
                 dimensions);
    GgufTensor tensor;
    for (uint32_t d = 0; d < dimensions; ++d) {
      uint64_t size = reader.number<uint64_t>("a dimension");
      if (size > uint64_t{1} << 40)
        fail_input("{}: tensor \"{}\" has a dimension of {}", path.string(), printable(name), size);
      tensor.shape.push_back(static_cast<int64_t>(size));
    }
    tensor.type = reader.number<uint32_t>("a tensor");
    tensor.offset = reader.number<uint64_t>("a tensor");
    if (!tensors_.emplace(name, std::move(tensor)).second)
      fail_input("{}: tensor \"{}\" stands there twice", path.string(), printable(name));
  }
  uint64_t alignment = static_cast<uint64_t>(integer("general.alignment").value_or(32));
  if (alignment == 0 || alignment > (1 << 20) || (alignment & (alignment - 1)) != 0)
    fail_input("{}: general.alignment is {}, expected a power of two", path.string(), alignment);
  uint64_t data = (reader.at() + alignment - 1) / alignment * alignment;
  for (auto& [name, tensor] : tensors_) {
    if (data > file_.size() || tensor.offset > file_.size() - data)
      fail_input("{}: tensor \"{}\" begins behind the end of the file", path.string(), printable(name));
    tensor.offset += data;
  }
}

std::optional<int64_t> GgufFile::integer(std::string_view key) const {
  if (const int64_t* value = find<int64_t>(key)) return *value;
  if (const uint64_t* value = find<uint64_t>(key); value && *value <= uint64_t{INT64_MAX})
    return static_cast<int64_t>(*value);
  return std::nullopt;
}

}  // namespace fettle
