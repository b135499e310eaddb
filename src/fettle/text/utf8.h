// UTF-8 for tokenizers: lossy decoding as Rust does it, byte-level alphabet of GPT-2.
#pragma once
#include <array>
#include <cstdint>
#include <string>
#include <string_view>

namespace fettle {

/// Length of the well-formed character that starts at text[at], or 0. `code` receives the code point.
int utf8_length(std::string_view text, size_t at, uint32_t& code);
/// The same for text that is known to be UTF-8, without checks of the continuation bytes: at least 1, so that
/// a loop always moves on; U+FFFD where the text ends inside of a character.
inline size_t next_character(std::string_view text, size_t at, uint32_t& code) {
  const auto byte = [&](size_t i) { return static_cast<uint32_t>(static_cast<unsigned char>(text[at + i])); };
  uint32_t lead = byte(0);
  if (lead < 0x80) {
    code = lead;
    return 1;
  }
  size_t left = text.size() - at;
  if (lead < 0xE0 && left >= 2) {
    code = (lead & 0x1F) << 6 | (byte(1) & 0x3F);
    return 2;
  }
  if (lead < 0xF0 && left >= 3) {
    code = (lead & 0x0F) << 12 | (byte(1) & 0x3F) << 6 | (byte(2) & 0x3F);
    return 3;
  }
  if (left >= 4) {
    code = (lead & 0x07) << 18 | (byte(1) & 0x3F) << 12 | (byte(2) & 0x3F) << 6 | (byte(3) & 0x3F);
    if (code > 0x10FFFF) code = 0xFFFD;
    return 4;
  }
  code = 0xFFFD;
  return 1;
}
void append_utf8(std::string& out, uint32_t code);
/// Invalid sequences become U+FFFD, one for each maximal ill-formed part, as String::from_utf8_lossy.
std::string utf8_lossy(std::string_view bytes);
bool is_valid_utf8(std::string_view bytes);

/// GPT-2's printable stand-ins for the 256 bytes.
const std::array<std::string, 256>& byte_level_alphabet();
/// The bytes that a byte-level token stands for; false when a character is not in the alphabet.
bool byte_level_to_bytes(std::string_view token, std::string& bytes);

}  // namespace fettle
