// Text as Python's `str` treats it: positions count code points, case and classes follow Unicode, and values
// print as str() and repr() print them. Invalid UTF-8 bytes count as one character each and pass through.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "fettle/text/jinja/value.h"

namespace fettle::jinja {

/// Decodes the character at `pos` and moves past it; an invalid byte gives 0xDC00 + byte, as surrogateescape.
char32_t next_char(std::string_view text, size_t& pos);
void append_char(std::string& out, char32_t c);
int64_t char_count(std::string_view text);
/// Byte offset of the `index`-th character, clamped to the end.
size_t byte_offset(std::string_view text, int64_t index);
std::vector<std::string_view> split_chars(std::string_view text);

bool is_space(char32_t c);
bool is_alpha(char32_t c);
bool is_decimal(char32_t c);
bool is_digit(char32_t c);
bool is_numeric(char32_t c);
bool is_upper(char32_t c);
bool is_lower(char32_t c);
bool is_title(char32_t c);
bool is_cased(char32_t c);
bool is_printable(char32_t c);

std::string to_upper(std::string_view text);
std::string to_lower(std::string_view text);
std::string to_title(std::string_view text);
std::string capitalize(std::string_view text);
std::string swap_case(std::string_view text);
std::string case_fold(std::string_view text);

/// Strips whitespace, or the characters of `chars` when given, on the chosen sides.
std::string_view strip(std::string_view text, const std::string* chars, bool left, bool right);
/// Lines as str.splitlines gives them (all Unicode line ends).
std::vector<std::string_view> split_lines(std::string_view text, bool keep_ends);

/// Shortest decimal form, as Python's repr of a float.
std::string float_repr(double value);
std::string str(const Value& value);
std::string repr(const Value& value);
std::string string_repr(std::string_view text);
/// &, <, >, ' and " as markupsafe writes them.
std::string escape_html(std::string_view text);

}  // namespace fettle::jinja
