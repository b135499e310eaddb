#include "fettle/text/jinja/python_text.h"

#include <fmt/format.h>
#include <utf8proc.h>

#include <algorithm>
#include <charconv>
#include <cmath>

#include "fettle/text/jinja/failure.h"
#include "fettle/text/jinja/special_casing.h"

namespace fettle::jinja {
namespace {

constexpr char32_t kEscapedByte = 0xDC00;  // + byte: how an invalid byte is carried

const SpecialCasing* special(char32_t c) {
  if (c < 0xDF) return nullptr;
  auto* end = std::end(kSpecialCasing);
  auto* it = std::lower_bound(std::begin(kSpecialCasing), end, c,
                              [](const SpecialCasing& row, char32_t value) { return row.from < value; });
  return it != end && it->from == c ? it : nullptr;
}

utf8proc_category_t category(char32_t c) {
  return utf8proc_category(static_cast<utf8proc_int32_t>(c));
}

void append_upper(std::string& out, char32_t c) {
  if (const SpecialCasing* row = special(c)) {
    for (const char32_t* p = row->upper; *p; ++p) append_char(out, *p);
  } else {
    append_char(out, static_cast<char32_t>(utf8proc_toupper(static_cast<utf8proc_int32_t>(c))));
  }
}
void append_title(std::string& out, char32_t c) {
  if (const SpecialCasing* row = special(c)) {
    for (const char32_t* p = row->title; *p; ++p) append_char(out, *p);
  } else {
    append_char(out, static_cast<char32_t>(utf8proc_totitle(static_cast<utf8proc_int32_t>(c))));
  }
}

bool case_ignorable(char32_t c) {
  switch (category(c)) {
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_ME:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_SK:
      return true;
    default:
      return c == '\'' || c == '.' || c == ':' || c == 0xB7 || c == 0x2018 || c == 0x2019 || c == 0x2024 ||
             c == 0x2027 || c == 0xFE13 || c == 0xFE52 || c == 0xFE55 || c == 0xFF07 || c == 0xFF0E ||
             c == 0xFF1A || c == 0x387;
  }
}

constexpr char32_t kCapitalSigma = 0x3A3;

/// Σ becomes ς at the end of a word and σ elsewhere.
void append_lower(std::string& out, std::string_view text, size_t begin, size_t end, char32_t c) {
  if (c == 0x130) {
    out += "i\xCC\x87";
    return;
  }
  if (c != kCapitalSigma) {
    append_char(out, static_cast<char32_t>(utf8proc_tolower(static_cast<utf8proc_int32_t>(c))));
    return;
  }
  bool cased_before = false, cased_after = false;
  for (size_t at = begin; at > 0;) {
    size_t back = at - 1;
    while (back > 0 && (static_cast<unsigned char>(text[back]) & 0xC0) == 0x80) --back;
    size_t pos = back;
    char32_t before = next_char(text, pos);
    at = back;
    if (case_ignorable(before)) continue;
    cased_before = is_cased(before);
    break;
  }
  for (size_t at = end; at < text.size();) {
    char32_t after = next_char(text, at);
    if (case_ignorable(after)) continue;
    cased_after = is_cased(after);
    break;
  }
  append_char(out, cased_before && !cased_after ? 0x3C2 : 0x3C3);
}

constexpr size_t kMaxRepr = size_t{16} << 20;

void repr_into(std::string& out, const Value& value, int depth);

void repr_sequence(std::string& out, const Values& items, int depth) {
  for (size_t i = 0; i < items.size(); ++i) {
    if (i) out += ", ";
    repr_into(out, items[i], depth);
  }
}

void repr_dict(std::string& out, const Value& dict, int depth) {
  out += '{';
  bool first = true;
  for (const Entry& entry : dict.entries()) {
    if (!first) out += ", ";
    first = false;
    repr_into(out, entry.first, depth);
    out += ": ";
    repr_into(out, entry.second, depth);
  }
  out += '}';
}

void repr_into(std::string& out, const Value& value, int depth) {
  // Only namespaces can form cycles; Python stops with a recursion error there.
  if (depth > static_cast<int>(2 * kMaxValueDepth))
    fail("maximum recursion depth exceeded while printing a value");
  // A list that holds itself twice over many levels is small in memory and endless in print.
  if (out.size() > kMaxRepr) fail("a value takes more than {} bytes to print", kMaxRepr);
  ++depth;
  switch (value.kind()) {
    case Kind::kUndefined:
      out += "Undefined";
      break;
    case Kind::kNone:
      out += "None";
      break;
    case Kind::kBool:
      out += value.as_bool() ? "True" : "False";
      break;
    case Kind::kInt:
      out += fmt::format("{}", value.as_int());
      break;
    case Kind::kFloat:
      out += float_repr(value.as_double());
      break;
    case Kind::kString:
      if (value.is_markup()) out += "Markup(";
      out += string_repr(value.text());
      if (value.is_markup()) out += ")";
      break;
    case Kind::kList:
      out += '[';
      repr_sequence(out, value.items(), depth);
      out += ']';
      break;
    case Kind::kTuple:
      out += '(';
      repr_sequence(out, value.items(), depth);
      out += value.items().size() == 1 ? ",)" : ")";
      break;
    case Kind::kDict:
      repr_dict(out, value, depth);
      break;
    case Kind::kRange: {
      const Range& range = value.as<Range>();
      out += range.step == 1 ? fmt::format("range({}, {})", range.start, range.stop)
                             : fmt::format("range({}, {}, {})", range.start, range.stop, range.step);
      break;
    }
    case Kind::kView: {
      const View& view = value.as<View>();
      out += type_name(value) + "([";
      bool first = true;
      for (const Entry& entry : view.dict.entries()) {
        if (!first) out += ", ";
        first = false;
        if (view.part == View::Part::kItems) out += '(';
        if (view.part != View::Part::kValues) repr_into(out, entry.first, depth);
        if (view.part == View::Part::kItems) out += ", ";
        if (view.part != View::Part::kKeys) repr_into(out, entry.second, depth);
        if (view.part == View::Part::kItems) out += ')';
      }
      out += "])";
      break;
    }
    case Kind::kNamespace: {
      out += "<Namespace {";
      bool first = true;
      for (const auto& [name, attribute] : value.as<Namespace>().attributes) {
        if (!first) out += ", ";
        first = false;
        out += string_repr(name) + ": ";
        repr_into(out, attribute, depth);
      }
      out += "}>";
      break;
    }
    default:
      out += "<" + type_name(value) + " object>";
      break;
  }
}

}  // namespace

char32_t next_char(std::string_view text, size_t& pos) {
  auto byte = [&](size_t i) { return static_cast<unsigned char>(text[i]); };
  unsigned char lead = byte(pos);
  if (lead < 0x80) {
    ++pos;
    return lead;
  }
  int length = lead >= 0xF0 && lead < 0xF5   ? 4
               : lead >= 0xE0 && lead < 0xF0 ? 3
               : lead >= 0xC2 && lead < 0xE0 ? 2
                                             : 0;
  if (length && pos + static_cast<size_t>(length) <= text.size()) {
    char32_t c = lead & (0x7F >> length);
    bool good = true;
    for (int i = 1; i < length; ++i) {
      unsigned char next = byte(pos + static_cast<size_t>(i));
      if ((next & 0xC0) != 0x80) good = false;
      c = c << 6 | (next & 0x3F);
    }
    static constexpr char32_t kLeast[] = {0, 0, 0x80, 0x800, 0x10000};
    if (good && c >= kLeast[length] && c <= 0x10FFFF && (c < 0xD800 || c > 0xDFFF)) {
      pos += static_cast<size_t>(length);
      return c;
    }
  }
  ++pos;
  return kEscapedByte + lead;
}

void append_char(std::string& out, char32_t c) {
  if (c >= kEscapedByte + 0x80 && c <= kEscapedByte + 0xFF) {
    out += static_cast<char>(c - kEscapedByte);
  } else if (c < 0x80) {
    out += static_cast<char>(c);
  } else if (c < 0x800) {
    out += static_cast<char>(0xC0 | c >> 6);
    out += static_cast<char>(0x80 | (c & 0x3F));
  } else if (c < 0x10000) {
    out += static_cast<char>(0xE0 | c >> 12);
    out += static_cast<char>(0x80 | (c >> 6 & 0x3F));
    out += static_cast<char>(0x80 | (c & 0x3F));
  } else {
    out += static_cast<char>(0xF0 | c >> 18);
    out += static_cast<char>(0x80 | (c >> 12 & 0x3F));
    out += static_cast<char>(0x80 | (c >> 6 & 0x3F));
    out += static_cast<char>(0x80 | (c & 0x3F));
  }
}

int64_t char_count(std::string_view text) {
  int64_t count = 0;
  for (size_t pos = 0; pos < text.size(); ++count) next_char(text, pos);
  return count;
}

size_t byte_offset(std::string_view text, int64_t index) {
  size_t pos = 0;
  for (; index > 0 && pos < text.size(); --index) next_char(text, pos);
  return pos;
}

std::vector<std::string_view> split_chars(std::string_view text) {
  std::vector<std::string_view> out;
  out.reserve(text.size());
  for (size_t pos = 0; pos < text.size();) {
    size_t begin = pos;
    next_char(text, pos);
    out.push_back(text.substr(begin, pos - begin));
  }
  return out;
}

bool is_space(char32_t c) {
  return (c >= 9 && c <= 13) || (c >= 0x1C && c <= 0x20) || c == 0x85 || c == 0xA0 || c == 0x1680 ||
         (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F || c == 0x205F ||
         c == 0x3000;
}
bool is_alpha(char32_t c) {
  utf8proc_category_t k = category(c);
  return k >= UTF8PROC_CATEGORY_LU && k <= UTF8PROC_CATEGORY_LO;
}
bool is_decimal(char32_t c) {
  return category(c) == UTF8PROC_CATEGORY_ND;
}
bool is_digit(char32_t c) {
  return is_decimal(c) || c == 0xB2 || c == 0xB3 || c == 0xB9 || c == 0x2070 ||
         (c >= 0x2074 && c <= 0x2079) || (c >= 0x2080 && c <= 0x2089) || (c >= 0x2460 && c <= 0x2468) ||
         (c >= 0x2474 && c <= 0x247C) || (c >= 0x2488 && c <= 0x2490) || c == 0x24EA ||
         (c >= 0x24F5 && c <= 0x24FD) || c == 0x24FF || (c >= 0x2776 && c <= 0x277E) ||
         (c >= 0x2780 && c <= 0x2788) || (c >= 0x278A && c <= 0x2792);
}
bool is_numeric(char32_t c) {
  utf8proc_category_t k = category(c);
  if (k == UTF8PROC_CATEGORY_ND || k == UTF8PROC_CATEGORY_NL || k == UTF8PROC_CATEGORY_NO) return true;
  // Ideographs with a numeric value that occur in ordinary text.
  static constexpr char32_t kNumerals[] = {
      0x4E00, 0x4E03, 0x4E07, 0x4E09, 0x4E24, 0x4E5D, 0x4E8C, 0x4E94, 0x4EBF, 0x5146, 0x5341, 0x5343, 0x5345,
      0x56DB, 0x58F9, 0x5EFF, 0x62FE, 0x634C, 0x67D2, 0x7396, 0x767E, 0x8086, 0x842C, 0x8CAE, 0x9646};
  return std::binary_search(std::begin(kNumerals), std::end(kNumerals), c);
}
bool is_upper(char32_t c) {
  return category(c) == UTF8PROC_CATEGORY_LU || (c >= 0x2160 && c <= 0x216F) || (c >= 0x24B6 && c <= 0x24CF);
}
bool is_lower(char32_t c) {
  return category(c) == UTF8PROC_CATEGORY_LL || c == 0xAA || c == 0xBA || (c >= 0x2B0 && c <= 0x2B8) ||
         (c >= 0x2170 && c <= 0x217F) || (c >= 0x24D0 && c <= 0x24E9);
}
bool is_title(char32_t c) {
  return category(c) == UTF8PROC_CATEGORY_LT;
}
bool is_cased(char32_t c) {
  return is_upper(c) || is_lower(c) || is_title(c);
}
bool is_printable(char32_t c) {
  if (c == ' ') return true;
  if (c >= 0xD800 && c <= 0xDFFF) return false;
  switch (category(c)) {
    case UTF8PROC_CATEGORY_CN:
    case UTF8PROC_CATEGORY_CC:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_CS:
    case UTF8PROC_CATEGORY_CO:
    case UTF8PROC_CATEGORY_ZS:
    case UTF8PROC_CATEGORY_ZL:
    case UTF8PROC_CATEGORY_ZP:
      return false;
    default:
      return true;
  }
}

std::string to_upper(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (size_t pos = 0; pos < text.size();) append_upper(out, next_char(text, pos));
  return out;
}
std::string to_lower(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (size_t pos = 0; pos < text.size();) {
    size_t begin = pos;
    char32_t c = next_char(text, pos);
    append_lower(out, text, begin, pos, c);
  }
  return out;
}
std::string to_title(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  bool inside = false;
  for (size_t pos = 0; pos < text.size();) {
    size_t begin = pos;
    char32_t c = next_char(text, pos);
    if (inside)
      append_lower(out, text, begin, pos, c);
    else
      append_title(out, c);
    inside = is_cased(c);
  }
  return out;
}
std::string capitalize(std::string_view text) {
  std::string out;
  for (size_t pos = 0; pos < text.size();) {
    size_t begin = pos;
    char32_t c = next_char(text, pos);
    if (begin == 0)
      append_title(out, c);
    else
      append_lower(out, text, begin, pos, c);
  }
  return out;
}
std::string swap_case(std::string_view text) {
  std::string out;
  for (size_t pos = 0; pos < text.size();) {
    size_t begin = pos;
    char32_t c = next_char(text, pos);
    if (is_upper(c))
      append_lower(out, text, begin, pos, c);
    else if (is_lower(c))
      append_upper(out, c);
    else
      append_char(out, c);
  }
  return out;
}
std::string case_fold(std::string_view text) {
  std::string out;
  for (size_t pos = 0; pos < text.size();) {
    char32_t c = next_char(text, pos);
    utf8proc_int32_t folded[8];
    int boundary = 0;
    utf8proc_ssize_t count = c >= 0xD800 && c <= 0xDFFF
                                 ? -1
                                 : utf8proc_decompose_char(static_cast<utf8proc_int32_t>(c), folded, 8,
                                                           UTF8PROC_CASEFOLD, &boundary);
    if (count < 0) append_char(out, c);
    for (utf8proc_ssize_t i = 0; i < count; ++i) append_char(out, static_cast<char32_t>(folded[i]));
  }
  return out;
}

std::string_view strip(std::string_view text, const std::string* chars, bool left, bool right) {
  std::u32string set;
  if (chars)
    for (size_t pos = 0; pos < chars->size();) set += next_char(*chars, pos);
  auto drop = [&](char32_t c) { return chars ? set.find(c) != set.npos : is_space(c); };
  size_t begin = 0, end = text.size();
  while (left && begin < end) {
    size_t pos = begin;
    if (!drop(next_char(text, pos))) break;
    begin = pos;
  }
  while (right && end > begin) {
    size_t back = end - 1;
    while (back > begin && end - back < 4 && (static_cast<unsigned char>(text[back]) & 0xC0) == 0x80) --back;
    size_t pos = back;
    char32_t c = next_char(text.substr(0, end), pos);
    if (pos != end) {  // not one well-formed character: the last byte stands alone
      back = end - 1;
      c = kEscapedByte + static_cast<unsigned char>(text[back]);
    }
    if (!drop(c)) break;
    end = back;
  }
  return text.substr(begin, end - begin);
}

std::vector<std::string_view> split_lines(std::string_view text, bool keep_ends) {
  std::vector<std::string_view> lines;
  size_t begin = 0;
  for (size_t pos = 0; pos < text.size();) {
    size_t at = pos;
    char32_t c = next_char(text, pos);
    bool line_end =
        (c >= 10 && c <= 13) || (c >= 0x1C && c <= 0x1E) || c == 0x85 || c == 0x2028 || c == 0x2029;
    if (!line_end) continue;
    if (c == '\r' && pos < text.size() && text[pos] == '\n') ++pos;
    lines.push_back(text.substr(begin, (keep_ends ? pos : at) - begin));
    begin = pos;
  }
  if (begin < text.size()) lines.push_back(text.substr(begin));
  return lines;
}

std::string float_repr(double value) {
  if (std::isnan(value)) return "nan";
  if (std::isinf(value)) return value < 0 ? "-inf" : "inf";
  char buffer[64];
  auto end = std::to_chars(buffer, buffer + sizeof buffer, value, std::chars_format::scientific).ptr;
  std::string_view text(buffer, static_cast<size_t>(end - buffer));
  size_t e = text.find('e');
  int exponent = std::atoi(std::string(text.substr(e + 1)).c_str());
  std::string out, digits;
  for (char c : text.substr(0, e)) {
    if (c == '-')
      out += c;
    else if (c != '.')
      digits += c;
  }
  if (exponent < -4 || exponent >= 16) {
    out += digits[0];
    if (digits.size() > 1) out += "." + digits.substr(1);
    return out + fmt::format("e{}{:02}", exponent < 0 ? '-' : '+', std::abs(exponent));
  }
  if (exponent < 0) return out + "0." + std::string(static_cast<size_t>(-exponent - 1), '0') + digits;
  size_t whole = static_cast<size_t>(exponent) + 1;
  if (digits.size() <= whole) return out + digits + std::string(whole - digits.size(), '0') + ".0";
  return out + digits.substr(0, whole) + "." + digits.substr(whole);
}

std::string string_repr(std::string_view text) {
  char quote = text.find('\'') != text.npos && text.find('"') == text.npos ? '"' : '\'';
  std::string out(1, quote);
  for (size_t pos = 0; pos < text.size();) {
    char32_t c = next_char(text, pos);
    if (c == static_cast<char32_t>(quote) || c == '\\')
      (out += '\\') += static_cast<char>(c);
    else if (c == '\n')
      out += "\\n";
    else if (c == '\r')
      out += "\\r";
    else if (c == '\t')
      out += "\\t";
    else if (is_printable(c))
      append_char(out, c);
    else if (c < 0x100)
      out += fmt::format("\\x{:02x}", static_cast<uint32_t>(c));
    else if (c < 0x10000)
      out += fmt::format("\\u{:04x}", static_cast<uint32_t>(c));
    else
      out += fmt::format("\\U{:08x}", static_cast<uint32_t>(c));
  }
  return out + quote;
}

std::string repr(const Value& value) {
  std::string out;
  repr_into(out, value, 0);
  return out;
}

std::string str(const Value& value) {
  if (value.is_string()) return value.text();
  if (value.is_undefined()) return "";
  return repr(value);
}

std::string escape_html(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (char c : text) {
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '\'':
        out += "&#39;";
        break;
      case '"':
        out += "&#34;";
        break;
      default:
        out += c;
    }
  }
  return out;
}

}  // namespace fettle::jinja
