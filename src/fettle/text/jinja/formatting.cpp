// `"%s" % value` and `"{}".format(value)`. Fields of str.format reach items and attributes only through the
// sandbox.
#include <cmath>

#include "fettle/base/error.h"
#include "fettle/text/jinja/python_text.h"
#include "fettle/text/jinja/runtime.h"

namespace fettle::jinja {
namespace {

constexpr int64_t kMaxWidth = 1 << 20;

struct Spec {
  std::string fill = " ";
  char align = 0;  // < > = ^
  char sign = '-';
  bool alternate = false, zero = false;
  char grouping = 0;
  int64_t width = 0, precision = -1;
  char type = 0;
};

std::string grouped(const std::string& digits, char separator) {
  std::string out;
  for (size_t i = 0; i < digits.size(); ++i) {
    if (i && (digits.size() - i) % 3 == 0) out += separator;
    out += digits[i];
  }
  return out;
}

std::string padded(Runtime& runtime, const Spec& spec, const std::string& sign, const std::string& body,
                   bool is_number) {
  char align = spec.align ? spec.align : spec.zero && is_number ? '=' : is_number ? '>' : '<';
  std::string fill = spec.zero && !spec.align ? "0" : spec.fill;
  int64_t pad = spec.width - char_count(sign) - char_count(body);
  if (pad <= 0) return sign + body;
  if (align == '=') return sign + pad_text(runtime, body, spec.width - char_count(sign), fill, 1);
  if (align == '^') {
    std::string out;
    for (int64_t i = 0; i < pad / 2; ++i) out += fill;
    out += sign + body;
    for (int64_t i = pad / 2; i < pad; ++i) out += fill;
    return out;
  }
  return pad_text(runtime, sign + body, spec.width, fill, align == '<' ? -1 : 1);
}

std::string sign_of(const Spec& spec, bool negative) {
  return negative ? "-" : spec.sign == '+' ? "+" : spec.sign == ' ' ? " " : "";
}

/// %g as Python formats it: trailing zeros go unless `alternate`.
std::string general(double value, int64_t precision, char type, bool alternate) {
  std::string format = alternate ? "%#.*" : "%.*";
  char buffer[512];
  std::snprintf(buffer, sizeof buffer, (format + type).c_str(), static_cast<int>(precision), value);
  return buffer;
}

std::string float_body(double value, const Spec& spec, char type) {
  if (std::isnan(value)) return type == 'F' || type == 'E' || type == 'G' ? "NAN" : "nan";
  if (std::isinf(value)) return type == 'F' || type == 'E' || type == 'G' ? "INF" : "inf";
  int64_t precision = spec.precision < 0 ? 6 : spec.precision;
  if (precision > 1000) fail("a precision of {} is too large", precision);
  if (type == 'f' || type == 'F') return fmt::format("{:.{}f}", value, static_cast<int>(precision));
  if (type == 'e') return fmt::format("{:.{}e}", value, static_cast<int>(precision));
  if (type == 'E') return fmt::format("{:.{}E}", value, static_cast<int>(precision));
  return general(value, std::min<int64_t>(precision ? precision : 1, 300), type, spec.alternate);
}

std::string format_number(Runtime& runtime, const Value& value, const Spec& spec) {
  char type = spec.type;
  bool integral = value.is_integral();
  if (integral && (type == 0 || type == 'd' || type == 'n' || type == 'x' || type == 'X' || type == 'o' ||
                   type == 'b' || type == 'c')) {
    int64_t number = value.as_int();
    uint64_t magnitude = number < 0 ? 0 - static_cast<uint64_t>(number) : static_cast<uint64_t>(number);
    std::string body;
    switch (type) {
      case 'x':
        body = fmt::format("{:x}", magnitude);
        break;
      case 'X':
        body = fmt::format("{:X}", magnitude);
        break;
      case 'o':
        body = fmt::format("{:o}", magnitude);
        break;
      case 'b':
        body = fmt::format("{:b}", magnitude);
        break;
      case 'c':
        if (number < 0 || number > 0x10FFFF) fail("a character code must lie in range(0x110000)");
        append_char(body, static_cast<char32_t>(number));
        return padded(runtime, spec, "", body, false);
      default:
        body = fmt::format("{}", magnitude);
    }
    if (spec.precision > static_cast<int64_t>(body.size()) && spec.precision <= kMaxWidth)
      body.insert(0, static_cast<size_t>(spec.precision) - body.size(), '0');
    if (spec.grouping) body = grouped(body, spec.grouping);
    if (spec.alternate && type && type != 'd' && type != 'n') body = std::string("0") + type + body;
    return padded(runtime, spec, sign_of(spec, number < 0), body, true);
  }
  double number = value.as_double();
  bool negative = std::signbit(number) && !std::isnan(number);
  std::string body;
  if (type == 0 && spec.precision < 0)
    body = float_repr(std::fabs(number));
  else if (type == 0) {
    body =
        general(std::fabs(number), std::min<int64_t>(spec.precision ? spec.precision : 1, 300), 'g', false);
    if (body.find_first_of(".en") == body.npos) body += ".0";
  } else if (type == '%') {
    Spec percent = spec;
    body = float_body(std::fabs(number) * 100, percent, 'f') + "%";
  } else if (std::string_view("fFeEgG").find(type) != std::string_view::npos) {
    body = float_body(std::fabs(number), spec, type);
  } else {
    fail("unknown format code '{}' for a {}", type, type_name(value));
  }
  if (spec.grouping) {
    size_t dot = body.find_first_not_of("0123456789");
    body = grouped(body.substr(0, dot), spec.grouping) + (dot == body.npos ? "" : body.substr(dot));
  }
  return padded(runtime, spec, sign_of(spec, negative), body, true);
}

int64_t read_number(std::string_view text, size_t& pos) {
  int64_t value = 0;
  while (pos < text.size() && text[pos] >= '0' && text[pos] <= '9') {
    value = value * 10 + (text[pos++] - '0');
    if (value > kMaxWidth) fail("a width or precision is too large");
  }
  return value;
}

Spec parse_spec(std::string_view text) {
  Spec spec;
  size_t pos = 0, second = 0;
  if (!text.empty()) next_char(text, second);
  auto is_align = [](char c) { return c == '<' || c == '>' || c == '=' || c == '^'; };
  if (second && second < text.size() && is_align(text[second])) {
    spec.fill = std::string(text.substr(0, second));
    spec.align = text[second];
    pos = second + 1;
  } else if (!text.empty() && is_align(text[0])) {
    spec.align = text[0];
    pos = 1;
  }
  auto at = [&](char c) { return pos < text.size() && text[pos] == c && (++pos, true); };
  for (char sign : {'+', '-', ' '})
    if (at(sign)) {
      spec.sign = sign;
      break;
    }
  spec.alternate = at('#');
  spec.zero = at('0');
  spec.width = read_number(text, pos);
  if (at(','))
    spec.grouping = ',';
  else if (at('_'))
    spec.grouping = '_';
  if (at('.')) {
    if (pos >= text.size() || text[pos] < '0' || text[pos] > '9') fail("Format specifier missing precision");
    spec.precision = read_number(text, pos);
  }
  if (pos < text.size()) spec.type = text[pos++];
  if (pos != text.size()) fail("Invalid format specifier '{}'", printable(text, 40));
  return spec;
}

std::string format_value(Runtime& runtime, const Value& value, std::string_view spec_text) {
  if (spec_text.empty()) return str(value);
  Spec spec = parse_spec(spec_text);
  if (value.is_number() && !(value.is_bool() && spec.type == 's')) return format_number(runtime, value, spec);
  if (!value.is_string()) fail("unsupported format string passed to {}", type_name(value));
  if (spec.type && spec.type != 's') fail("unknown format code '{}' for text", spec.type);
  if (spec.align == '=') fail("'=' alignment is not allowed for text");
  std::string body = value.text();
  if (spec.precision >= 0) body.resize(byte_offset(body, spec.precision));
  if (spec.zero && !spec.align) {
    spec.fill = "0";
    spec.align = '<';
  }
  return padded(runtime, spec, "", body, false);
}

/// Expands the fields of str.format.
class BraceFormat {
 public:
  BraceFormat(Runtime& runtime, const Arguments& arguments) : runtime_(runtime), arguments_(arguments) {}

  std::string run(std::string_view format, int depth) {
    if (depth > 2) fail("Max string recursion exceeded");
    std::string out;
    for (size_t pos = 0; pos < format.size();) {
      runtime_.tick();
      char c = format[pos];
      if ((c == '{' || c == '}') && pos + 1 < format.size() && format[pos + 1] == c) {
        out += c;
        pos += 2;
      } else if (c == '}') {
        fail("Single '}}' encountered in format string");
      } else if (c == '{') {
        out += field(format, ++pos, depth);
      } else {
        out += c;
        ++pos;
      }
      if (out.size() > runtime_.limits.max_output) runtime_.reserve(out.size());
    }
    return out;
  }

 private:
  std::string field(std::string_view format, size_t& pos, int depth) {
    size_t begin = pos;
    int open = 1;
    for (; pos < format.size() && open; ++pos) open += format[pos] == '{' ? 1 : format[pos] == '}' ? -1 : 0;
    if (open) fail("expected '}}' before end of string");
    std::string_view body = format.substr(begin, pos - 1 - begin);
    size_t mark = body.find_first_of("!:");
    // A '[' may hold these signs.
    size_t bracket = body.find('[');
    if (bracket != body.npos && mark != body.npos && bracket < mark) {
      size_t close = body.find(']', bracket);
      mark = close == body.npos ? body.npos : body.find_first_of("!:", close);
    }
    Value value = look_up(body.substr(0, mark));
    std::string_view rest = mark == body.npos ? std::string_view() : body.substr(mark);
    if (!rest.empty() && rest[0] == '!') {
      char kind = rest.size() > 1 ? rest[1] : '\0';
      if (kind == 'r' || kind == 'a')
        value = runtime_.text(repr(value));
      else if (kind == 's')
        value = runtime_.text(str(value));
      else
        fail("Unknown conversion specifier '{}'", printable(rest, 20));
      rest = rest.substr(2);
    }
    std::string spec;
    if (!rest.empty()) {
      if (rest[0] != ':') fail("expected ':' after conversion specifier");
      spec = run(rest.substr(1), depth + 1);
    }
    return format_value(runtime_, value, spec);
  }

  Value look_up(std::string_view path) {
    size_t end = std::min(path.find_first_of(".["), path.size());
    if (end == 0 && !path.empty()) fail("a field of a format string that looks into a value must name it");
    Value value = first(path.substr(0, end));
    for (size_t pos = end; pos < path.size();) {
      if (path[pos] == '.') {
        size_t stop = std::min(path.find_first_of(".[", pos + 1), path.size());
        if (stop == pos + 1) fail("Empty attribute in format string");
        value = runtime_.attribute(value, path.substr(pos + 1, stop - pos - 1));
        pos = stop;
      } else {
        size_t close = path.find(']', pos);
        if (close == path.npos) fail("Missing ']' in format string");
        std::string_view key = path.substr(pos + 1, close - pos - 1);
        bool digits = !key.empty() && key.size() < 10 && key.find_first_not_of("0123456789") == key.npos;
        size_t at = 0;
        value = runtime_.item(value, digits ? Value(read_number(key, at)) : Value(key));
        pos = close + 1;
      }
      require_defined(value);
    }
    return value;
  }

  Value first(std::string_view name) {
    bool digits = name.find_first_not_of("0123456789") == name.npos && name.size() < 7;
    if (name.empty() || digits) {
      if (name.empty() ? numbered_ : automatic_)
        fail("cannot switch between manual field specification and automatic field numbering");
      (name.empty() ? automatic_ : numbered_) = true;
      size_t at = 0;
      size_t index = name.empty() ? next_++ : static_cast<size_t>(read_number(name, at));
      if (index >= arguments_.positional.size())
        fail("Replacement index {} out of range for positional args", index);
      return arguments_.positional[index];
    }
    for (const auto& [key, value] : arguments_.keywords)
      if (key == name) return value;
    fail("the format string names '{}', which was not given", printable(name, 40));
  }

  Runtime& runtime_;
  const Arguments& arguments_;
  size_t next_ = 0;
  bool automatic_ = false, numbered_ = false;
};

}  // namespace

std::string brace_format(Runtime& runtime, const std::string& format, const Arguments& arguments) {
  return BraceFormat(runtime, arguments).run(format, 0);
}

std::string percent_format(Runtime& runtime, const std::string& format, const Value& values) {
  bool is_tuple = values.is_tuple();
  size_t next = 0, used = 0;
  auto take = [&]() -> Value {
    size_t available = is_tuple ? values.items().size() : 1;
    if (next >= available) fail("not enough arguments for format string");
    ++used;
    return is_tuple ? values.items()[next++] : (++next, values);
  };
  std::string out;
  bool by_name = false;
  for (size_t pos = 0; pos < format.size();) {
    runtime.tick();
    if (out.size() > runtime.limits.max_output) runtime.reserve(out.size());
    if (format[pos] != '%') {
      out += format[pos++];
      continue;
    }
    if (++pos >= format.size()) fail("incomplete format");
    if (format[pos] == '%') {
      out += '%';
      ++pos;
      continue;
    }
    std::optional<Value> named;
    if (format[pos] == '(') {
      size_t close = format.find(')', pos);
      if (close == format.npos) fail("incomplete format key");
      if (!values.is_dict()) fail("format requires a mapping");
      const Value* found = values.find(std::string_view(format).substr(pos + 1, close - pos - 1));
      if (!found) fail("the mapping lacks a key that the format names");
      named = *found;
      by_name = true;
      pos = close + 1;
    }
    Spec spec;
    bool left = false;
    for (bool flags = true; flags && pos < format.size();) {
      switch (format[pos]) {
        case '-':
          left = true;
          break;
        case '+':
          spec.sign = '+';
          break;
        case ' ':
          if (spec.sign != '+') spec.sign = ' ';
          break;
        case '#':
          spec.alternate = true;
          break;
        case '0':
          spec.zero = true;
          break;
        default:
          flags = false;
      }
      if (flags) ++pos;
    }
    auto star_or_number = [&] {
      if (pos < format.size() && format[pos] == '*') {
        ++pos;
        int64_t number = to_int(take(), "* in a format");
        if (number > kMaxWidth || number < -kMaxWidth) fail("a width or precision is too large");
        return number;
      }
      return read_number(format, pos);
    };
    spec.width = star_or_number();
    if (spec.width < 0) {
      left = true;
      spec.width = -spec.width;
    }
    if (pos < format.size() && format[pos] == '.') {
      ++pos;
      spec.precision = std::max<int64_t>(star_or_number(), 0);
    }
    while (pos < format.size() && (format[pos] == 'l' || format[pos] == 'h' || format[pos] == 'L')) ++pos;
    if (pos >= format.size()) fail("incomplete format");
    char type = format[pos++];
    Value value = named ? *named : take();
    if (left) {
      spec.align = '<';
      spec.zero = false;
    } else {
      spec.align = spec.zero ? '=' : '>';
      if (spec.zero) spec.fill = "0";
    }
    switch (type) {
      case 's':
      case 'r':
      case 'a': {
        std::string body = type == 's' ? str(value) : repr(value);
        if (spec.precision >= 0) body.resize(byte_offset(body, spec.precision));
        if (spec.align == '=') spec.align = '>', spec.fill = " ";
        out += padded(runtime, spec, "", body, false);
        break;
      }
      case 'c':
        if (value.is_string()) {
          if (char_count(value.text()) != 1) fail("%c requires an integer or one character");
          if (spec.align == '=') spec.align = '>', spec.fill = " ";
          out += padded(runtime, spec, "", value.text(), false);
          break;
        }
        [[fallthrough]];
      case 'd':
      case 'i':
      case 'u':
      case 'x':
      case 'X':
      case 'o': {
        require_defined(value);
        if (!value.is_number()) fail("%{} format: a number is required, not {}", type, type_name(value));
        if (value.is_float() && (type == 'x' || type == 'X' || type == 'o' || type == 'c'))
          fail("%{} format: an integer is required, not float", type);
        if (value.is_float() && !(std::fabs(value.as_double()) < 9.2e18))
          fail("integer overflow: {} exceeds 64 bits", float_repr(value.as_double()));
        spec.type = type == 'i' || type == 'u' ? 'd' : type;
        Value number = value.is_float() ? Value(static_cast<int64_t>(value.as_double())) : value;
        out += format_number(runtime, number, spec);
        break;
      }
      case 'e':
      case 'E':
      case 'f':
      case 'F':
      case 'g':
      case 'G':
        require_defined(value);
        if (!value.is_number()) fail("must be real number, not {}", type_name(value));
        spec.type = type;
        out += format_number(runtime, Value(value.as_double()), spec);
        break;
      default:
        fail("unsupported format character '{}'", printable(std::string(1, type)));
    }
  }
  bool all_used =
      is_tuple ? next >= values.items().size() : next > 0 || by_name || values.is_dict() || values.is_list();
  if (!all_used) fail("not all arguments converted during string formatting");
  return out;
}

}  // namespace fettle::jinja
