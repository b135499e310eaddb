// UTF-8: validity and code points of text from outside.
#pragma once
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace fettle {

/// Decodes the code point that starts at `text[position]` and moves `position` behind it. An invalid or cut
/// sequence, an overlong form or a surrogate gives U+FFFD and moves by one byte. `position` must be below
/// text.size().
char32_t next_code_point(std::string_view text, size_t& position, bool* valid = nullptr);

/// Offset of the first byte that is not valid UTF-8, or npos when all is valid.
size_t first_invalid_utf8(std::string_view text);

}  // namespace fettle
