#include "fettle/text/utf8.h"

#include <cstring>
#include <unordered_map>

namespace fettle {
namespace {

// Length of the longest prefix at text[at] that could still become a character; 1 when not even the first
// byte could. `complete` says that it is a whole character.
int well_formed_prefix(std::string_view text, size_t at, bool& complete, uint32_t& code) {
  complete = false;
  unsigned char lead = text[at];
  if (lead < 0x80) {
    complete = true;
    code = lead;
    return 1;
  }
  int length;
  unsigned char low = 0x80,
                high =
                    0xBF;  // range of the second byte: no overlong forms, surrogates or values above U+10FFFF
  if (lead >= 0xC2 && lead <= 0xDF)
    length = 2, code = lead & 0x1F;
  else if (lead >= 0xE0 && lead <= 0xEF) {
    length = 3, code = lead & 0x0F;
    if (lead == 0xE0) low = 0xA0;
    if (lead == 0xED) high = 0x9F;
  } else if (lead >= 0xF0 && lead <= 0xF4) {
    length = 4, code = lead & 0x07;
    if (lead == 0xF0) low = 0x90;
    if (lead == 0xF4) high = 0x8F;
  } else {
    return 1;
  }
  for (int i = 1; i < length; ++i) {
    if (at + static_cast<size_t>(i) >= text.size()) return i;
    unsigned char next = text[at + static_cast<size_t>(i)];
    if (next < low || next > high) return i;
    low = 0x80;
    high = 0xBF;
    code = code << 6 | (next & 0x3F);
  }
  complete = true;
  return length;
}

}  // namespace

int utf8_length(std::string_view text, size_t at, uint32_t& code) {
  bool complete;
  int length = well_formed_prefix(text, at, complete, code);
  return complete ? length : 0;
}

void append_utf8(std::string& out, uint32_t code) {
  if (code < 0x80) {
    out += static_cast<char>(code);
  } else if (code < 0x800) {
    out += static_cast<char>(0xC0 | code >> 6);
    out += static_cast<char>(0x80 | (code & 0x3F));
  } else if (code < 0x10000) {
    out += static_cast<char>(0xE0 | code >> 12);
    out += static_cast<char>(0x80 | (code >> 6 & 0x3F));
    out += static_cast<char>(0x80 | (code & 0x3F));
  } else {
    out += static_cast<char>(0xF0 | code >> 18);
    out += static_cast<char>(0x80 | (code >> 12 & 0x3F));
    out += static_cast<char>(0x80 | (code >> 6 & 0x3F));
    out += static_cast<char>(0x80 | (code & 0x3F));
  }
}

std::string utf8_lossy(std::string_view bytes) {
  std::string out;
  out.reserve(bytes.size());
  for (size_t i = 0; i < bytes.size();) {
    bool complete;
    uint32_t code = 0;
    size_t length = static_cast<size_t>(well_formed_prefix(bytes, i, complete, code));
    if (complete)
      out.append(bytes, i, length);
    else
      out += "\xEF\xBF\xBD";
    i += length;
  }
  return out;
}

bool is_valid_utf8(std::string_view bytes) {
  for (size_t i = 0; i < bytes.size();) {
    if (uint64_t word; i + 8 <= bytes.size()) {
      std::memcpy(&word, bytes.data() + i, 8);
      if (!(word & 0x8080808080808080ull)) {
        i += 8;
        continue;
      }
    }
    // Most characters of Chinese, Japanese and Korean texts.
    const auto byte = [&](size_t k) { return static_cast<unsigned char>(bytes[i + k]); };
    if (i + 3 <= bytes.size() && byte(0) >= 0xE1 && byte(0) <= 0xEC && (byte(1) & 0xC0) == 0x80 &&
        (byte(2) & 0xC0) == 0x80) {
      i += 3;
      continue;
    }
    uint32_t code;
    int length = utf8_length(bytes, i, code);
    if (length == 0) return false;
    i += static_cast<size_t>(length);
  }
  return true;
}

const std::array<std::string, 256>& byte_level_alphabet() {
  static const std::array<std::string, 256> alphabet = [] {
    std::array<std::string, 256> out;
    uint32_t next = 256;
    for (uint32_t byte = 0; byte < 256; ++byte) {
      bool printable =
          (byte >= '!' && byte <= '~') || (byte >= 0xA1 && byte <= 0xAC) || (byte >= 0xAE && byte <= 0xFF);
      append_utf8(out[byte], printable ? byte : next++);
    }
    return out;
  }();
  return alphabet;
}

bool byte_level_to_bytes(std::string_view token, std::string& bytes) {
  static const std::unordered_map<uint32_t, char> inverse = [] {
    std::unordered_map<uint32_t, char> map;
    for (size_t byte = 0; byte < 256; ++byte) {
      uint32_t code;
      utf8_length(byte_level_alphabet()[byte], 0, code);
      map[code] = static_cast<char>(byte);
    }
    return map;
  }();
  bytes.clear();
  for (size_t i = 0; i < token.size();) {
    uint32_t code;
    int length = utf8_length(token, i, code);
    auto found = length ? inverse.find(code) : inverse.end();
    if (found == inverse.end()) return false;
    bytes += found->second;
    i += static_cast<size_t>(length);
  }
  return true;
}

}  // namespace fettle
