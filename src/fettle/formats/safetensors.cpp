#include "fettle/formats/safetensors.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <nlohmann/json.hpp>
#include <set>

#include "fettle/base/error.h"
#include "fettle/base/json.h"
#include "fettle/formats/foreign_file.h"

namespace fettle {
namespace {

constexpr uint64_t kMaxHeader = 100'000'000;
constexpr size_t kMaxRank = 64, kMaxName = 4096;

struct Type {
  const char* name;
  uint64_t bits;
  std::optional<DType> dtype;
};
constexpr std::array<Type, 22> kTypes = {{
    {"F32", 32, DType::kF32},
    {"BF16", 16, DType::kBF16},
    {"F16", 16, DType::kF16},
    {"F64", 64, DType::kF64},
    {"I64", 64, DType::kI64},
    {"I32", 32, DType::kI32},
    {"U8", 8, DType::kU8},
    {"I8", 8, DType::kI8},
    {"I16", 16, std::nullopt},
    {"U16", 16, std::nullopt},
    {"U32", 32, std::nullopt},
    {"U64", 64, std::nullopt},
    {"BOOL", 8, std::nullopt},
    {"F8_E4M3", 8, std::nullopt},
    {"F8_E5M2", 8, std::nullopt},
    {"F8_E8M0", 8, std::nullopt},
    {"F8_E4M3FNUZ", 8, std::nullopt},
    {"F8_E5M2FNUZ", 8, std::nullopt},
    {"C64", 64, std::nullopt},
    {"F4", 4, std::nullopt},
    {"F6_E2M3", 6, std::nullopt},
    {"F6_E3M2", 6, std::nullopt},
}};

const Type* find_type(std::string_view name) {
  for (const Type& type : kTypes)
    if (name == type.name) return &type;
  return nullptr;
}

// Reads the header event by event: {"name": {"dtype": s, "shape": [n…], "data_offsets": [b, e]},
// "__metadata__": {s: s}}. No document is built, so a header costs memory in proportion to its own size and
// errors come at the first bad field.
class HeaderReader : public nlohmann::json_sax<nlohmann::json> {
 public:
  HeaderReader(std::string origin, std::map<std::string, TensorInfo>& tensors, Metadata& metadata)
      : origin_(std::move(origin)), tensors_(tensors), metadata_(metadata) {}

  bool null() override { return unexpected("null"); }
  bool boolean(bool) override { return unexpected("a boolean"); }
  bool number_float(double, const std::string& text) override { return unexpected(text); }
  bool binary(nlohmann::json::binary_t&) override { return unexpected("binary"); }
  bool number_integer(int64_t value) override { return unexpected(std::to_string(value)); }
  bool number_unsigned(uint64_t value) override {
    if (state_ == State::kShape) {
      if (current_.shape.size() >= kMaxRank) fail("shape has more than {} dimensions", kMaxRank);
      if (value > (uint64_t{1} << 48)) fail("shape holds {}", value);
      current_.shape.push_back(static_cast<int64_t>(value));
      return true;
    }
    if (state_ == State::kOffsets) {
      if (offsets_ >= 2) fail("data_offsets has more than two numbers");
      (offsets_++ == 0 ? current_.begin : current_.end) = value;
      return true;
    }
    return unexpected(std::to_string(value));
  }
  bool string(std::string& value) override {
    if (state_ == State::kMetadata && depth_ == 2) {
      if (!metadata_.emplace(key_, value).second)
        fail_input("{}: header: duplicate key \"{}\" in __metadata__", origin_, printable(key_));
      return true;
    }
    if (state_ == State::kTensor && key_ == "dtype" && current_.dtype_name.empty()) {
      const Type* type = find_type(value);
      if (!type) fail("dtype \"{}\" is unknown", printable(value, 40));
      current_.dtype_name = value;
      current_.dtype = type->dtype;
      return true;
    }
    return unexpected("\"" + printable(value, 40) + "\"");
  }
  bool start_object(size_t) override {
    if (++depth_ == 1) return true;
    if (depth_ != 2) return unexpected("an object");
    if (key_ == "__metadata__") {
      if (has_metadata_) fail_input("{}: header: duplicate key \"__metadata__\"", origin_);
      has_metadata_ = true;
      state_ = State::kMetadata;
      return true;
    }
    if (key_.empty() || key_.size() > kMaxName || key_.find('\0') != std::string::npos)
      fail_input("{}: header: tensor name \"{}\" is empty, longer than {} bytes or holds a NUL", origin_,
                 printable(key_), kMaxName);
    name_ = key_;
    current_ = {};
    has_shape_ = false;
    offsets_ = 0;
    state_ = State::kTensor;
    return true;
  }
  bool end_object() override {
    if (--depth_ == 1 && state_ == State::kTensor) {
      if (current_.dtype_name.empty() || !has_shape_ || offsets_ != 2)
        fail("needs dtype, shape and two data_offsets");
      if (!tensors_.emplace(name_, current_).second)
        fail_input("{}: header: duplicate tensor \"{}\"", origin_, printable(name_));
    }
    state_ = State::kTop;
    return true;
  }
  bool start_array(size_t) override {
    if (state_ != State::kTensor) return unexpected("a list");
    if (key_ == "shape" && !has_shape_) {
      state_ = State::kShape;
      has_shape_ = true;
    } else if (key_ == "data_offsets" && offsets_ == 0) {
      state_ = State::kOffsets;
    } else {
      return unexpected("a list");
    }
    return true;
  }
  bool end_array() override {
    state_ = State::kTensor;
    return true;
  }
  bool key(std::string& value) override {
    key_ = value;
    if (state_ == State::kTensor && key_ != "dtype" && key_ != "shape" && key_ != "data_offsets")
      fail("has the unknown field \"{}\"", printable(key_, 40));
    return true;
  }
  bool parse_error(size_t position, const std::string&, const nlohmann::json::exception& error) override {
    fail_input("{}: header is not valid JSON at offset {}: {}", origin_, position + 8,
               printable(error.what(), 160));
  }

 private:
  enum class State { kTop, kMetadata, kTensor, kShape, kOffsets };
  template <typename... Args>
  [[noreturn]] void fail(fmt::format_string<Args...> format, Args&&... args) const {
    fail_input("{}: tensor \"{}\": {}", origin_, printable(name_),
               fmt::format(format, std::forward<Args>(args)...));
  }
  bool unexpected(const std::string& what) const {
    if (depth_ == 0) fail_input("{}: header is {}, expected an object", origin_, what);
    fail_input("{}: header: \"{}\" holds {}, which does not belong there", origin_,
               printable(depth_ == 1     ? key_
                         : name_.empty() ? key_
                                         : name_),
               what);
  }
  std::string origin_, key_, name_;
  std::map<std::string, TensorInfo>& tensors_;
  Metadata& metadata_;
  TensorInfo current_;
  State state_ = State::kTop;
  int depth_ = 0, offsets_ = 0;
  bool has_shape_ = false, has_metadata_ = false;
};

uint64_t read_le64(const std::byte* at) {
  uint64_t value = 0;
  for (int i = 7; i >= 0; --i) value = value << 8 | static_cast<uint8_t>(at[i]);
  return value;
}

std::string safetensors_name(DType dtype) {
  for (const Type& type : kTypes)
    if (type.dtype == dtype) return type.name;
  FETTLE_CHECK(false, "no safetensors name for {}", dtype_name(dtype));
}

}  // namespace

SafetensorsFile::SafetensorsFile(const std::filesystem::path& path) : file_(path) {
  std::span<const std::byte> bytes = file_.bytes();
  std::string origin = path.string();
  if (bytes.size() < 8)
    fail_input("{}: {} bytes, a safetensors file has at least 8; the file is empty or cut off", origin,
               bytes.size());
  uint64_t length = read_le64(bytes.data());
  if (length > kMaxHeader)
    fail_input("{}: header length is {}, the limit is {}: {}", origin, length, kMaxHeader,
               foreign_file_hint(file_, "a safetensors file"));
  if (length > bytes.size() - 8)
    fail_input("{}: header length is {} but only {} bytes follow; the file is cut off", origin, length,
               bytes.size() - 8);
  std::string_view header(reinterpret_cast<const char*>(bytes.data()) + 8, length);
  size_t first = header.find_first_not_of(" \t\r\n");
  if (first == header.npos || header[first] != '{')
    fail_input("{}: header does not start with '{{'; this is not a safetensors file", origin);
  // The JSON parser takes a NUL for the end of the text; whatever followed would go unread.
  if (size_t nul = header.find('\0'); nul != header.npos)
    fail_input("{}: header is not valid JSON: a NUL byte at offset {}", origin, nul + 8);
  data_begin_ = 8 + length;
  HeaderReader reader(origin, tensors_, metadata_);
  nlohmann::json::sax_parse(header.begin(), header.end(), &reader);
  check_layout(bytes.size() - data_begin_);
}

void SafetensorsFile::check_layout(uint64_t data_size) const {
  std::vector<const std::pair<const std::string, TensorInfo>*> order;
  for (const auto& entry : tensors_) order.push_back(&entry);
  std::sort(order.begin(), order.end(), [](auto* a, auto* b) {
    return std::pair(a->second.begin, a->second.end) < std::pair(b->second.begin, b->second.end);
  });
  std::string origin = path().string();
  uint64_t at = 0;
  const std::string* previous = nullptr;
  for (const auto* entry : order) {
    const auto& [name, info] = *entry;
    if (info.begin > info.end)
      fail_input("{}: tensor \"{}\": data_offsets [{}, {}] run backwards", origin, printable(name),
                 info.begin, info.end);
    if (info.begin < at)
      fail_input("{}: tensor \"{}\" overlaps \"{}\"", origin, printable(name),
                 previous ? printable(*previous) : "");
    if (info.begin > at)
      fail_input("{}: {} unused bytes before tensor \"{}\"", origin, info.begin - at, printable(name));
    uint64_t bits = find_type(info.dtype_name)->bits;
    for (int64_t d : info.shape)
      if (__builtin_mul_overflow(bits, static_cast<uint64_t>(d), &bits))
        fail_input("{}: tensor \"{}\": shape {} is too large", origin, printable(name),
                   shape_string(info.shape));
    if (bits % 8 != 0 || bits / 8 != info.end - info.begin)
      fail_input("{}: tensor \"{}\": shape {} of {} takes {} bytes, data_offsets give {}", origin,
                 printable(name), shape_string(info.shape), info.dtype_name, bits / 8, info.end - info.begin);
    if (info.end > data_size)
      fail_input("{}: tensor \"{}\" ends at byte {} of the data, the file holds {}; the file is cut off",
                 origin, printable(name), info.end, data_size);
    at = info.end;
    previous = &name;
  }
  if (at != data_size) fail_input("{}: {} extra bytes after the last tensor", origin, data_size - at);
}

Tensor SafetensorsFile::tensor(const std::string& name) const {
  auto found = tensors_.find(name);
  if (found == tensors_.end()) fail_input("{}: no tensor \"{}\"", path().string(), printable(name));
  const TensorInfo& info = found->second;
  if (!info.dtype)
    fail_input("{}: tensor \"{}\" is {}, which is not supported here", path().string(), printable(name),
               info.dtype_name);
  const std::byte* data = file_.bytes().data() + data_begin_ + info.begin;
  if (reinterpret_cast<uintptr_t>(data) % dtype_size(*info.dtype) == 0)
    return Tensor::external(data, info.shape, *info.dtype, file_.keep_alive());
  Tensor copy = Tensor::empty(info.shape, *info.dtype, MemoryKind::kWeights);
  copy.assign(data, info.end - info.begin);
  return copy;
}

void SafetensorsFile::forget(const std::string& name) const {
  auto found = tensors_.find(name);
  if (found == tensors_.end()) return;
  file_.forget(data_begin_ + found->second.begin, data_begin_ + found->second.end);
}

SafetensorsWriter::SafetensorsWriter(const std::filesystem::path& path, std::vector<Declaration> tensors,
                                     const Metadata& metadata)
    : file_(path), tensors_(std::move(tensors)) {
  uint64_t at = 0;
  std::set<std::string_view> names;
  // The header is joined by hand: an ordered JSON object would search all its keys for each new one.
  std::string body =
      metadata.empty() ? "{" : "{\"__metadata__\":" + Json(metadata).dump() + (tensors_.empty() ? "" : ",");
  for (size_t i = 0; i < tensors_.size(); ++i) {
    const Declaration& tensor = tensors_[i];
    FETTLE_CHECK(names.insert(tensor.name).second, "tensor {} is declared twice", tensor.name);
    uint64_t size = dtype_size(tensor.dtype);
    for (int64_t d : tensor.shape) size *= static_cast<uint64_t>(d);
    OrderedJson entry = {{"dtype", safetensors_name(tensor.dtype)},
                         {"shape", tensor.shape},
                         {"data_offsets", {at, at + size}}};
    body += (i ? "," : "") + Json(tensor.name).dump() + ":" + entry.dump();
    at += size;
  }
  body += "}";
  body.append((8 - body.size() % 8) % 8, ' ');
  std::array<std::byte, 8> length;
  for (size_t i = 0; i < 8; ++i) length[i] = static_cast<std::byte>(body.size() >> (8 * i));
  file_.write(length);
  file_.write(body);
}

void SafetensorsWriter::write(const Tensor& tensor) {
  FETTLE_CHECK(next_ < tensors_.size(), "more tensors than declared");
  const Declaration& declared = tensors_[next_++];
  FETTLE_CHECK(tensor.dtype() == declared.dtype && tensor.shape() == declared.shape,
               "{}: {} {} declared, {} {} given", declared.name, dtype_name(declared.dtype),
               shape_string(declared.shape), dtype_name(tensor.dtype()), shape_string(tensor.shape()));
  file_.write(std::span(static_cast<const std::byte*>(tensor.raw()), tensor.nbytes()));
}

void SafetensorsWriter::commit() {
  FETTLE_CHECK(next_ == tensors_.size(), "{} of {} tensors written", next_, tensors_.size());
  file_.commit();
}

void write_safetensors(const std::filesystem::path& path, const std::map<std::string, Tensor>& tensors,
                       const Metadata& metadata) {
  std::vector<SafetensorsWriter::Declaration> declarations;
  for (const auto& [name, tensor] : tensors) declarations.push_back({name, tensor.dtype(), tensor.shape()});
  SafetensorsWriter writer(path, std::move(declarations), metadata);
  for (const auto& [name, tensor] : tensors) writer.write(tensor);
  writer.commit();
}

}  // namespace fettle
