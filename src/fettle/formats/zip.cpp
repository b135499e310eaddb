#include "fettle/formats/zip.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include "fettle/base/error.h"

namespace fettle {
namespace {

// Little-endian reader over a mapped file; every read is checked.
class Bytes {
 public:
  Bytes(std::span<const std::byte> data, std::string origin) : data_(data), origin_(std::move(origin)) {}
  uint64_t size() const { return data_.size(); }
  uint64_t number(uint64_t at, int width) const {
    if (at > data_.size() || data_.size() - at < static_cast<uint64_t>(width))
      fail_input("{}: zip directory ends at byte {}", origin_, at);
    uint64_t value = 0;
    for (int i = width - 1; i >= 0; --i)
      value = value << 8 | static_cast<uint8_t>(data_[at + static_cast<uint64_t>(i)]);
    return value;
  }
  std::string text(uint64_t at, uint64_t length) const {
    if (at > data_.size() || data_.size() - at < length)
      fail_input("{}: zip directory ends at byte {}", origin_, at);
    return {reinterpret_cast<const char*>(data_.data()) + at, length};
  }

 private:
  std::span<const std::byte> data_;
  std::string origin_;
};

struct Directory {
  uint64_t entries, offset;
};

Directory find_directory(const Bytes& bytes, const std::string& origin) {
  // The end record is 22 bytes plus a comment of at most 65535.
  if (bytes.size() < 22) fail_input("{}: {} bytes are too few for a zip file", origin, bytes.size());
  uint64_t lowest = bytes.size() > 22 + 65535 ? bytes.size() - 22 - 65535 : 0;
  for (uint64_t at = bytes.size() - 22;; --at) {
    if (bytes.number(at, 4) == 0x06054b50) {
      Directory d{bytes.number(at + 10, 2), bytes.number(at + 16, 4)};
      if ((d.entries == 0xFFFF || d.offset == 0xFFFFFFFF) && at >= 20 &&
          bytes.number(at - 20, 4) == 0x07064b50) {
        uint64_t record = bytes.number(at - 12, 8);
        if (bytes.number(record, 4) != 0x06064b50) fail_input("{}: zip64 end record is missing", origin);
        d = {bytes.number(record + 32, 8), bytes.number(record + 48, 8)};
      }
      return d;
    }
    if (at == lowest) break;
  }
  fail_input("{}: no zip directory; the file is cut off or not a torch archive", origin);
}

}  // namespace

bool looks_like_zip(const MappedFile& file) {
  std::span<const std::byte> bytes = file.bytes();
  return bytes.size() >= 4 && std::memcmp(bytes.data(), "PK\3\4", 4) == 0;
}

std::map<std::string, ZipEntry> read_zip_directory(const MappedFile& file) {
  std::string origin = file.path().string();
  Bytes bytes(file.bytes(), origin);
  Directory directory = find_directory(bytes, origin);
  if (directory.entries > bytes.size() / 46)
    fail_input("{}: zip directory claims {} entries", origin, directory.entries);
  std::map<std::string, ZipEntry> entries;
  uint64_t at = directory.offset;
  for (uint64_t i = 0; i < directory.entries; ++i) {
    if (bytes.number(at, 4) != 0x02014b50) fail_input("{}: zip directory entry {} is damaged", origin, i);
    uint64_t flags = bytes.number(at + 8, 2), method = bytes.number(at + 10, 2);
    uint64_t packed = bytes.number(at + 20, 4), size = bytes.number(at + 24, 4);
    uint64_t name_length = bytes.number(at + 28, 2), extra = bytes.number(at + 30, 2),
             comment = bytes.number(at + 32, 2);
    uint64_t local = bytes.number(at + 42, 4);
    std::string name = bytes.text(at + 46, name_length);
    // zip64: the extra field gives, in order, whichever of size, packed size and offset did not fit.
    for (uint64_t e = at + 46 + name_length, end = e + extra; e + 4 <= end;) {
      uint64_t id = bytes.number(e, 2), length = bytes.number(e + 2, 2), field = e + 4;
      if (id == 1)
        for (uint64_t* value : {&size, &packed, &local})
          if (*value == 0xFFFFFFFF) {
            *value = bytes.number(field, 8);
            field += 8;
          }
      e += 4 + length;
    }
    if (method != 0 || packed != size)
      fail_input("{}: zip entry \"{}\" is compressed; torch.save stores entries as they are", origin,
                 printable(name));
    if (flags & 1) fail_input("{}: zip entry \"{}\" is encrypted", origin, printable(name));
    if (bytes.number(local, 4) != 0x04034b50)
      fail_input("{}: zip entry \"{}\" is damaged", origin, printable(name));
    uint64_t begin = local + 30 + bytes.number(local + 26, 2) + bytes.number(local + 28, 2);
    if (begin > bytes.size() || bytes.size() - begin < size)
      fail_input("{}: zip entry \"{}\" ends beyond the file; the file is cut off", origin, printable(name));
    if (!entries.emplace(name, ZipEntry{begin, size}).second)
      fail_input("{}: zip entry \"{}\" stands there twice", origin, printable(name));
    at += 46 + name_length + extra + comment;
  }
  std::vector<ZipEntry> order;
  for (const auto& [name, entry] : entries) order.push_back(entry);
  std::sort(order.begin(), order.end(),
            [](const ZipEntry& a, const ZipEntry& b) { return a.begin < b.begin; });
  for (size_t i = 1; i < order.size(); ++i)
    if (order[i].begin < order[i - 1].begin + order[i - 1].size)
      fail_input("{}: zip entries overlap", origin);
  return entries;
}

}  // namespace fettle
