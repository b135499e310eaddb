#include "fettle/track/tensorboard.h"

#include <array>
#include <cstring>

#include "fettle/base/file.h"

namespace fettle {
namespace {

template <typename T>
void append_raw(std::string& out, T value) {
  out.append(reinterpret_cast<const char*>(&value), sizeof value);
}

// Protocol buffers: a field's number and kind, then its value.
void append_varint(std::string& out, uint64_t value) {
  while (value >= 0x80) {
    out += static_cast<char>(value | 0x80);
    value >>= 7;
  }
  out += static_cast<char>(value);
}
void append_double(std::string& out, int field, double value) {
  append_varint(out, static_cast<uint64_t>(field) << 3 | 1);
  append_raw(out, value);
}
void append_float(std::string& out, int field, float value) {
  append_varint(out, static_cast<uint64_t>(field) << 3 | 5);
  append_raw(out, value);
}
void append_bytes(std::string& out, int field, std::string_view bytes) {
  append_varint(out, static_cast<uint64_t>(field) << 3 | 2);
  append_varint(out, bytes.size());
  out += bytes;
}

uint32_t masked(std::string_view bytes) {
  const uint32_t crc = crc32c(bytes);
  return ((crc >> 15) | (crc << 17)) + 0xa282ead8u;
}

void append_record(std::string& out, const std::string& data) {
  std::string length;
  append_raw(length, static_cast<uint64_t>(data.size()));
  out += length;
  append_raw(out, masked(length));
  out += data;
  append_raw(out, masked(data));
}

}  // namespace

uint32_t crc32c(std::string_view bytes) {
  static const std::array<uint32_t, 256> table = [] {
    std::array<uint32_t, 256> t{};
    for (uint32_t i = 0; i < 256; ++i) {
      uint32_t c = i;
      for (int k = 0; k < 8; ++k) c = c & 1 ? (c >> 1) ^ 0x82f63b78u : c >> 1;
      t[i] = c;
    }
    return t;
  }();
  uint32_t crc = 0xffffffffu;
  for (unsigned char byte : bytes) crc = table[(crc ^ byte) & 0xff] ^ (crc >> 8);
  return ~crc;
}

void write_events(const std::filesystem::path& file, const std::vector<ScalarEvent>& events) {
  std::string out, version;
  append_double(version, 1, events.empty() ? 0 : events.front().wall_time);
  append_bytes(version, 3, "brain.Event:2");
  append_record(out, version);
  for (const ScalarEvent& e : events) {
    std::string value, summary, event;
    append_bytes(value, 1, e.tag);
    append_float(value, 2, e.value);
    append_bytes(summary, 1, value);
    append_double(event, 1, e.wall_time);
    if (e.step != 0) {
      append_varint(event, 2 << 3);
      append_varint(event, static_cast<uint64_t>(e.step));
    }
    append_bytes(event, 5, summary);
    append_record(out, event);
  }
  write_file_atomically(file, out);
}

}  // namespace fettle
