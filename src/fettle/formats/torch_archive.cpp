#include "fettle/formats/torch_archive.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "fettle/base/error.h"
#include "fettle/formats/foreign_file.h"
#include "fettle/formats/pickle.h"
#include "fettle/formats/zip.h"

namespace fettle {
namespace {

using Kind = PickleValue::Kind;

struct StorageType {
  const char* name;
  const char* dtype_name;
  uint64_t size;
  std::optional<DType> dtype;
};
constexpr std::array<StorageType, 10> kStorages = {{
    {"torch.FloatStorage", "F32", 4, DType::kF32},
    {"torch.BFloat16Storage", "BF16", 2, DType::kBF16},
    {"torch.HalfStorage", "F16", 2, DType::kF16},
    {"torch.DoubleStorage", "F64", 8, DType::kF64},
    {"torch.LongStorage", "I64", 8, DType::kI64},
    {"torch.IntStorage", "I32", 4, DType::kI32},
    {"torch.ByteStorage", "U8", 1, DType::kU8},
    {"torch.CharStorage", "I8", 1, DType::kI8},
    {"torch.ShortStorage", "I16", 2, std::nullopt},
    {"torch.BoolStorage", "BOOL", 1, std::nullopt},
}};

bool allowed_global(const std::string& name) {
  for (const StorageType& type : kStorages)
    if (name == type.name) return true;
  return name == "torch._utils._rebuild_tensor_v2" || name == "torch._utils._rebuild_parameter" ||
         name == "collections.OrderedDict";
}

// The low 64 bits of 0x1950a86a20f9469cfc6c, which starts archives of releases before 1.6.
constexpr uint64_t kLegacyMagic = 0xa86a20f9469cfc6c;
constexpr char kLegacyStart[] = "\x80\x02\x8a\x0a";  // protocol 2, a number of ten bytes

constexpr size_t kMaxTensors = 500'000, kMaxName = 4096, kMaxDicts = 100'000;
constexpr uint64_t kMaxEntries = 4'000'000;  // dict entries visited; a dict may stand in several places

struct StorageUse {
  const StorageType* type;
  std::string key;
  uint64_t elements;
};

class StateDictReader {
 public:
  StateDictReader(std::string origin) : origin_(std::move(origin)) {}

  struct Found {
    std::string name;
    StorageUse storage;
    uint64_t offset, elements;
    Shape shape, stride;
  };
  std::vector<Found> found;

  void read(const PickleValue& value, const std::string& prefix, int depth = 0) {
    if (depth > 16) fail_input("{}: dicts nested deeper than 16 levels", origin_);
    bool ordered = value.kind == Kind::kCall && value.text == "collections.OrderedDict";
    if (value.kind != Kind::kDict && !ordered) fail_input("{}: holds no state dict of tensors", origin_);
    for (const auto& [key, item] : value.pairs) {
      if (key->kind != Kind::kString && key->kind != Kind::kInt)
        fail_input("{}: a dict key is neither text nor number", origin_);
      if (++entries_ > kMaxEntries) fail_input("{}: more than {} dict entries", origin_, kMaxEntries);
      std::string name = prefix + (key->kind == Kind::kString ? key->text : std::to_string(key->integer));
      if (name.size() > kMaxName)
        fail_input("{}: tensor name \"{}\" is longer than {} bytes", origin_, printable(name), kMaxName);
      const PickleValue* tensor = item;
      if (tensor->kind == Kind::kCall && tensor->text == "torch._utils._rebuild_parameter") {
        if (tensor->items.empty()) fail_input("{}: tensor \"{}\" is damaged", origin_, printable(name));
        tensor = tensor->items[0];
      }
      if (tensor->kind == Kind::kCall && tensor->text == "torch._utils._rebuild_tensor_v2") {
        if (found.size() >= kMaxTensors) fail_input("{}: more than {} tensors", origin_, kMaxTensors);
        found.push_back(read_tensor(*tensor, name));
      } else if (tensor->kind == Kind::kDict ||
                 (tensor->kind == Kind::kCall && tensor->text == "collections.OrderedDict")) {
        if (++dicts_ > kMaxDicts) fail_input("{}: more than {} nested dicts", origin_, kMaxDicts);
        read(*tensor, name + ".", depth + 1);
      }
      // Plain values beside the tensors (a step count, a version) are of no use here.
    }
  }

  StorageUse read_storage(const PickleValue& value) {
    const std::vector<PickleValue*>& id = value.items;
    if (value.kind != Kind::kPersistent || id.size() < 5 || id[0]->kind != Kind::kString ||
        id[0]->text != "storage" || id[1]->kind != Kind::kGlobal || id[2]->kind != Kind::kString ||
        id[4]->kind != Kind::kInt || id[4]->integer < 0)
      fail_input("{}: a storage is damaged", origin_);
    if (id.size() > 5 && id[5]->kind != Kind::kNone)
      fail_input("{}: storage {} is a view of another storage; save it again with torch 1.6 or later",
                 origin_, printable(id[2]->text));
    for (const StorageType& type : kStorages)
      if (id[1]->text == type.name) return {&type, id[2]->text, static_cast<uint64_t>(id[4]->integer)};
    fail_input("{}: storage type {} is unknown", origin_, printable(id[1]->text));
  }

 private:
  Found read_tensor(const PickleValue& call, const std::string& name) {
    const std::vector<PickleValue*>& a = call.items;
    if (a.size() < 4 || a[1]->kind != Kind::kInt || a[1]->integer < 0 || a[2]->kind != Kind::kTuple ||
        a[3]->kind != Kind::kTuple || a[2]->items.size() != a[3]->items.size() || a[2]->items.size() > 64)
      fail_input("{}: tensor \"{}\" is damaged", origin_, printable(name));
    Found tensor{.name = name,
                 .storage = read_storage(*a[0]),
                 .offset = static_cast<uint64_t>(a[1]->integer),
                 .elements = 0,
                 .shape = {},
                 .stride = {}};
    auto numbers = [&](const PickleValue& tuple) {
      Shape out;
      for (const PickleValue* item : tuple.items) {
        if (item->kind != Kind::kInt || item->integer < 0 || item->integer > (int64_t{1} << 48))
          fail_input("{}: tensor \"{}\" has an impossible shape or stride", origin_, printable(name));
        out.push_back(item->integer);
      }
      return out;
    };
    tensor.shape = numbers(*a[2]);
    tensor.stride = numbers(*a[3]);
    // The last element must lie inside the storage, and a stride of zero must not blow up a small file.
    uint64_t last = tensor.offset, count = 1;
    bool empty = false;
    for (size_t i = 0; i < tensor.shape.size(); ++i) {
      empty = empty || tensor.shape[i] == 0;
      uint64_t step;
      if (__builtin_mul_overflow(count, static_cast<uint64_t>(tensor.shape[i]), &count) ||
          (tensor.shape[i] > 0 && __builtin_mul_overflow(static_cast<uint64_t>(tensor.shape[i] - 1),
                                                         static_cast<uint64_t>(tensor.stride[i]), &step)) ||
          (tensor.shape[i] > 0 && __builtin_add_overflow(last, step, &last)))
        fail_input("{}: tensor \"{}\": shape {} is too large", origin_, printable(name),
                   shape_string(tensor.shape));
    }
    if (!empty && (last >= tensor.storage.elements || count > tensor.storage.elements))
      fail_input("{}: tensor \"{}\" of shape {} needs {} elements, its storage has {}", origin_,
                 printable(name), shape_string(tensor.shape), std::max(last + 1, count),
                 tensor.storage.elements);
    tensor.elements = count;
    return tensor;
  }
  std::string origin_;
  size_t dicts_ = 0;
  uint64_t entries_ = 0;
};

}  // namespace

TorchArchive::TorchArchive(const std::filesystem::path& path) : file_(path) {
  std::string origin = path.string();
  PickleArena arena;
  StateDictReader reader(origin);
  std::map<std::string, ZipEntry> contents;  // storage key -> bytes in the file
  if (looks_like_zip(file_)) {
    std::map<std::string, ZipEntry> entries = read_zip_directory(file_);
    std::string root;
    const ZipEntry* program = nullptr;
    for (const auto& [name, entry] : entries)
      if (name.ends_with("/data.pkl") && std::count(name.begin(), name.end(), '/') == 1) {
        if (program) fail_input("{}: two data.pkl inside; this is not a file that torch.save writes", origin);
        root = name.substr(0, name.size() - 8);
        program = &entry;
      }
    if (!program) fail_input("{}: no data.pkl inside; this zip file is not a torch archive", origin);
    if (auto order = entries.find(root + "byteorder"); order != entries.end()) {
      std::string_view text(reinterpret_cast<const char*>(file_.bytes().data()) + order->second.begin,
                            order->second.size);
      if (text != "little") fail_input("{}: byte order \"{}\" is not supported", origin, printable(text));
    }
    uint64_t at = 0;
    const PickleValue* result = run_pickle(file_.bytes().subspan(program->begin, program->size), at,
                                           origin + ": data.pkl", arena, allowed_global);
    reader.read(*result, "");
    for (const auto& [name, entry] : entries)
      if (name.starts_with(root + "data/")) contents[name.substr(root.size() + 5)] = entry;
  } else {
    if (std::string_view(kLegacyStart, 4) != first_bytes(file_, 4))
      fail_input("{}: {}", origin, foreign_file_hint(file_, "a torch archive"));
    uint64_t at = 0;
    const PickleValue* magic = run_pickle(file_.bytes(), at, origin, arena, allowed_global);
    if (magic->kind != Kind::kInt || static_cast<uint64_t>(magic->integer) != kLegacyMagic)
      fail_input("{}: not a torch archive: the magic number is missing", origin);
    run_pickle(file_.bytes(), at, origin, arena, allowed_global);  // protocol version
    run_pickle(file_.bytes(), at, origin, arena, allowed_global);  // sizes and byte order of the writer
    reader.read(*run_pickle(file_.bytes(), at, origin, arena, allowed_global), "");
    const PickleValue* keys = run_pickle(file_.bytes(), at, origin, arena, allowed_global);
    std::map<std::string, uint64_t> sizes;
    for (const PickleValue& value : arena) {
      if (value.kind != Kind::kPersistent) continue;
      StorageUse use = reader.read_storage(value);
      if (!sizes.emplace(use.key, use.type->size).second && sizes[use.key] != use.type->size)
        fail_input("{}: storage {} has two types", origin, printable(use.key));
    }
    if (keys->kind != Kind::kList) fail_input("{}: the list of storages is damaged or cut off", origin);
    for (const PickleValue* key : keys->items) {
      if (key->kind != Kind::kString || file_.size() - at < 8)
        fail_input("{}: the list of storages is damaged or cut off", origin);
      uint64_t elements = 0;
      std::memcpy(&elements, file_.bytes().data() + at, 8);
      at += 8;
      auto size = sizes.find(key->text);
      if (size == sizes.end())
        fail_input("{}: storage {} belongs to no tensor", origin, printable(key->text));
      if (elements > (file_.size() - at) / size->second)
        fail_input("{}: storage {} is cut off", origin, printable(key->text));
      contents[key->text] = {at, elements * size->second};
      at += elements * size->second;
    }
  }
  for (const StateDictReader::Found& tensor : reader.found) {
    auto content = contents.find(tensor.storage.key);
    if (content == contents.end())
      fail_input("{}: the storage of tensor \"{}\" is missing", origin, printable(tensor.name));
    if (content->second.size / tensor.storage.type->size < tensor.storage.elements)
      fail_input("{}: the storage of tensor \"{}\" holds {} bytes, expected {} elements of {}", origin,
                 printable(tensor.name), content->second.size, tensor.storage.elements,
                 tensor.storage.type->dtype_name);
    uint64_t bytes = tensor.elements * tensor.storage.type->size;
    // The offset of an empty tensor may lie anywhere.
    uint64_t begin = content->second.begin + (bytes > 0 ? tensor.offset * tensor.storage.type->size : 0);
    TensorInfo info{.dtype_name = tensor.storage.type->dtype_name,
                    .dtype = tensor.storage.type->dtype,
                    .shape = tensor.shape,
                    .begin = begin,
                    .end = begin + bytes};
    if (!tensors_.emplace(tensor.name, info).second)
      fail_input("{}: tensor \"{}\" stands there twice", origin, printable(tensor.name));
    strides_[tensor.name] = tensor.stride;
  }
}

Tensor TorchArchive::tensor(const std::string& name) const {
  auto found = tensors_.find(name);
  if (found == tensors_.end()) fail_input("{}: no tensor \"{}\"", file_.path().string(), printable(name));
  const TensorInfo& info = found->second;
  if (!info.dtype)
    fail_input("{}: tensor \"{}\" is {}, which is not supported here", file_.path().string(), printable(name),
               info.dtype_name);
  const Shape& stride = strides_.at(name);
  const std::byte* data = file_.bytes().data() + info.begin;
  size_t size = dtype_size(*info.dtype);
  bool contiguous = true;
  int64_t expected = 1;
  // With no elements there is nothing to order, and the product of the other dimensions may overflow.
  if (info.begin != info.end)
    for (size_t i = info.shape.size(); i-- > 0;) {
      if (info.shape[i] != 1 && stride[i] != expected) contiguous = false;
      expected *= info.shape[i];
    }
  if (contiguous && reinterpret_cast<uintptr_t>(data) % size == 0)
    return Tensor::external(data, info.shape, *info.dtype, file_.keep_alive());
  Tensor copy = Tensor::empty(info.shape, *info.dtype, MemoryKind::kWeights);
  std::byte* out = static_cast<std::byte*>(copy.raw());
  Shape index(info.shape.size(), 0);
  for (int64_t i = 0, n = copy.numel(); i < n; ++i) {
    uint64_t at = 0;
    for (size_t d = 0; d < index.size(); ++d) at += static_cast<uint64_t>(index[d] * stride[d]);
    std::memcpy(out + static_cast<size_t>(i) * size, data + at * size, size);
    for (size_t d = index.size(); d-- > 0;) {
      if (++index[d] < info.shape[d]) break;
      index[d] = 0;
    }
  }
  return copy;
}

}  // namespace fettle
