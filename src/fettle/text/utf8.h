// UTF-8 for tokenizers: lossy decoding as Rust does it, byte-level alphabet of GPT-2.
#pragma once
#include <array>
#include <cstdint>
#include <string>
#include <string_view>

namespace fettle {

/// Length of the well-formed character that starts at text[at], or 0. `code` receives the code point.
int utf8_length(std::string_view text, size_t at, uint32_t& code);
void append_utf8(std::string& out, uint32_t code);
/// Invalid sequences become U+FFFD, one for each maximal ill-formed part, as String::from_utf8_lossy.
std::string utf8_lossy(std::string_view bytes);
bool is_valid_utf8(std::string_view bytes);

/// GPT-2's printable stand-ins for the 256 bytes.
const std::array<std::string, 256>& byte_level_alphabet();
/// The bytes that a byte-level token stands for; false when a character is not in the alphabet.
bool byte_level_to_bytes(std::string_view token, std::string& bytes);

}  // namespace fettle
