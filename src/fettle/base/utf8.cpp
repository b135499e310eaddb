#include "fettle/base/utf8.h"

namespace fettle {

char32_t next_code_point(std::string_view text, size_t& position, bool* valid) {
  if (valid) *valid = true;
  const unsigned char lead = text[position];
  if (lead < 0x80) {
    ++position;
    return lead;
  }
  const size_t length = lead >= 0xF0 ? 4 : lead >= 0xE0 ? 3 : 2;
  static constexpr char32_t kSmallest[] = {0, 0, 0x80, 0x800, 0x10000};
  bool good = lead >= 0xC2 && lead <= 0xF4 && position + length <= text.size();
  char32_t code = lead & (0xFF >> (length + 1));
  for (size_t i = 1; good && i < length; ++i) {
    const unsigned char next = text[position + i];
    good = (next & 0xC0) == 0x80;
    code = (code << 6) | (next & 0x3F);
  }
  good = good && code >= kSmallest[length] && code <= 0x10FFFF && (code < 0xD800 || code > 0xDFFF);
  if (!good) {
    if (valid) *valid = false;
    ++position;
    return 0xFFFD;
  }
  position += length;
  return code;
}

size_t first_invalid_utf8(std::string_view text) {
  for (size_t position = 0; position < text.size();) {
    const size_t start = position;
    bool valid = true;
    next_code_point(text, position, &valid);
    if (!valid) return start;
  }
  return std::string_view::npos;
}

}  // namespace fettle
