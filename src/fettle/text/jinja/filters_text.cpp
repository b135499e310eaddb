// Filters of texts and numbers, with `tojson` as Transformers defines it.
#include <algorithm>
#include <charconv>
#include <cmath>
#include <iterator>

#include "fettle/base/error.h"
#include "fettle/text/jinja/filters.h"
#include "fettle/text/jinja/python_text.h"
#include "fettle/text/jinja/runtime.h"

namespace fettle::jinja {
namespace {

using Given = std::vector<const Value*>;

// ---- text

template <std::string (*F)(std::string_view)>
Value text_filter(Runtime& runtime, const Value& subject, Arguments& arguments) {
  arguments.bind("filter", {});
  Value text = soft_text(runtime, subject);
  return runtime.text(F(text.text()), text.is_markup());
}

Value filter_title(Runtime& runtime, const Value& subject, Arguments& arguments) {
  arguments.bind("title", {});
  std::string text = str(subject), out;
  // Words begin after whitespace and - ( { [ <, not after an apostrophe.
  bool starts = true;
  std::string word;
  auto flush = [&] {
    if (word.empty()) return;
    size_t end = 0;
    next_char(word, end);
    out += to_upper(word.substr(0, end)) + to_lower(word.substr(end));
    word.clear();
  };
  for (size_t pos = 0; pos < text.size();) {
    char32_t c = next_char(text, pos);
    bool breaks = is_space(c) || c == '-' || c == '(' || c == '{' || c == '[' || c == '<';
    if (breaks != starts) flush();
    starts = breaks;
    append_char(word, c);
  }
  flush();
  return runtime.text(std::move(out));
}

Value filter_trim(Runtime& runtime, const Value& subject, Arguments& arguments) {
  Given given = arguments.bind("trim", {"chars"});
  Value text = soft_text(runtime, subject);
  const std::string* chars =
      given[0] && !given[0]->is_none() ? &to_text(*given[0], "trim's argument") : nullptr;
  runtime.tick(text.text().size() / 64);
  return runtime.text(std::string(strip(text.text(), chars, true, true)), text.is_markup());
}

Value filter_replace(Runtime& runtime, const Value& subject, Arguments& arguments) {
  Given given = arguments.bind("replace", {"old", "new", "count"}, 2);
  int64_t count = given[2] && !given[2]->is_none() ? to_int(*given[2], "replace's count") : -1;
  return runtime.text(replace_text(runtime, str(subject), str(*given[0]), str(*given[1]), count));
}

Value filter_center(Runtime& runtime, const Value& subject, Arguments& arguments) {
  Given given = arguments.bind("center", {"width"});
  return runtime.text(pad_text(runtime, str(subject), given[0] ? to_int(*given[0], "width") : 80, " ", 0));
}

Value filter_indent(Runtime& runtime, const Value& subject, Arguments& arguments) {
  Given given = arguments.bind("indent", {"width", "first", "blank"});
  std::string indent;
  if (given[0] && given[0]->is_string()) {
    indent = given[0]->text();
  } else {
    int64_t width = given[0] ? to_int(*given[0], "indent's width") : 4;
    if (width > 10'000) fail("an indentation of {} is too wide", width);
    indent.assign(static_cast<size_t>(std::max<int64_t>(width, 0)), ' ');
  }
  bool first = flag(given[1], false), blank = flag(given[2], false);
  std::string text = to_text(subject, "indent's input") + "\n";
  std::vector<std::string_view> lines = split_lines(text, false);
  runtime.reserve(text.size() + lines.size() * indent.size());
  std::string out;
  for (size_t i = 0; i < lines.size(); ++i) {
    if (i) out += '\n';
    if (i ? blank || !lines[i].empty() : first) out += indent;
    out += lines[i];
  }
  return Value(std::move(out), subject.is_markup());
}

Value filter_truncate(Runtime& runtime, const Value& subject, Arguments& arguments) {
  Given given = arguments.bind("truncate", {"length", "killwords", "end", "leeway"});
  int64_t length = given[0] ? to_int(*given[0], "truncate's length") : 255;
  std::string end = given[2] ? to_text(*given[2], "truncate's end") : "...";
  int64_t leeway = given[3] && !given[3]->is_none() ? to_int(*given[3], "truncate's leeway") : 5;
  int64_t kept = length - char_count(end);
  if (kept < 0) fail("truncate: the length is below that of the end text");
  if (leeway < 0) fail("truncate: the leeway is negative");
  std::string text = to_text(subject, "truncate's input");
  if (char_count(text) <= length + leeway) return subject;
  text.resize(byte_offset(text, kept));
  if (!flag(given[1], false)) {
    size_t space = text.rfind(' ');
    if (space != text.npos) text.resize(space);
  }
  return runtime.text(text + end);
}

Value filter_wordcount(Runtime&, const Value& subject, Arguments& arguments) {
  arguments.bind("wordcount", {});
  std::string text = str(subject);
  int64_t count = 0;
  bool inside = false;
  for (size_t pos = 0; pos < text.size();) {
    char32_t c = next_char(text, pos);
    bool word = c == '_' || is_alpha(c) || is_numeric(c) || is_decimal(c);
    if (word && !inside) ++count;
    inside = word;
  }
  return Value(count);
}

Value filter_format(Runtime& runtime, const Value& subject, Arguments& arguments) {
  if (!arguments.positional.empty() && !arguments.keywords.empty())
    fail("format takes positional or keyword arguments, not both");
  Value values;
  if (!arguments.keywords.empty()) {
    std::vector<Entry> entries;
    for (const auto& [name, value] : arguments.keywords) entries.emplace_back(Value(name), value);
    values = Value::dict(std::move(entries));
  } else {
    values = Value::tuple(arguments.positional);
  }
  return runtime.text(percent_format(runtime, str(subject), values));
}

Value filter_string(Runtime& runtime, const Value& subject, Arguments& arguments) {
  arguments.bind("string", {});
  return soft_text(runtime, subject);
}
Value filter_safe(Runtime& runtime, const Value& subject, Arguments& arguments) {
  arguments.bind("safe", {});
  return runtime.text(str(subject), true);
}
Value filter_escape(Runtime& runtime, const Value& subject, Arguments& arguments) {
  arguments.bind("escape", {});
  return subject.is_markup() ? subject : runtime.text(escape_html(str(subject)), true);
}
Value filter_force_escape(Runtime& runtime, const Value& subject, Arguments& arguments) {
  arguments.bind("forceescape", {});
  return runtime.text(escape_html(str(subject)), true);
}

Value filter_urlencode(Runtime& runtime, const Value& subject, Arguments& arguments) {
  arguments.bind("urlencode", {});
  auto quote = [](std::string_view text, bool query) {
    std::string out;
    for (char c : text) {
      bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
                   c == '.' || c == '-' || c == '~' || (c == '/' && !query);
      if (plain)
        out += c;
      else if (c == ' ' && query)
        out += '+';
      else
        out += fmt::format("%{:02X}", static_cast<unsigned char>(c));
    }
    return out;
  };
  if (subject.is_string() || (!subject.is_dict() && !subject.is_list() && !subject.is_tuple()))
    return runtime.text(quote(str(subject), false));
  std::string out;
  auto add = [&](const Value& key, const Value& value) {
    if (!out.empty()) out += '&';
    out += quote(str(key), true) + "=" + quote(str(value), true);
  };
  if (subject.is_dict()) {
    for (const Entry& entry : subject.entries()) add(entry.first, entry.second);
  } else {
    for (const Value& pair : subject.items()) {
      Values both = runtime.iterate(pair);
      if (both.size() != 2) fail("urlencode needs pairs");
      add(both[0], both[1]);
    }
  }
  return runtime.text(std::move(out));
}

Value filter_tojson(Runtime& runtime, const Value& subject, Arguments& arguments) {
  Given given = arguments.bind("tojson", {"ensure_ascii", "indent", "separators", "sort_keys"});
  JsonStyle style;
  style.ensure_ascii = flag(given[0], false);
  style.sort_keys = flag(given[3], false);
  if (given[1] && !given[1]->is_none()) {
    style.pretty = true;
    style.item_separator = ",";
    if (given[1]->is_string()) {
      style.indent = given[1]->text();
    } else {
      int64_t width = to_int(*given[1], "tojson's indent");
      if (width > 1'000) fail("a JSON indentation of {} is too wide", width);
      style.indent.assign(static_cast<size_t>(std::max<int64_t>(width, 0)), ' ');
    }
  }
  if (given[2] && !given[2]->is_none()) {
    Values both = runtime.iterate(*given[2]);
    if (both.size() != 2) fail("tojson's separators must be two texts");
    style.item_separator = to_text(both[0], "a separator");
    style.key_separator = to_text(both[1], "a separator");
  }
  return runtime.text(json_text(runtime, subject, style));
}

// ---- numbers

Value filter_abs(Runtime& runtime, const Value& subject, Arguments& arguments) {
  arguments.bind("abs", {});
  require_defined(subject);
  if (!subject.is_number()) fail("abs needs a number, not {}", type_name(subject));
  if (subject.is_float()) return Value(std::fabs(subject.as_double()));
  return subject.as_int() < 0 ? runtime.unary(Operator::kNeg, subject) : Value(subject.as_int());
}

/// The number that int(text, base) reads, if it does.
std::optional<int64_t> parse_int(std::string_view text, int64_t base) {
  text = strip(text, nullptr, true, true);
  std::string digits;
  bool negative = false;
  if (!text.empty() && (text[0] == '-' || text[0] == '+')) {
    negative = text[0] == '-';
    text.remove_prefix(1);
  }
  if (text.size() > 2 && text[0] == '0') {
    char kind = static_cast<char>(text[1] | 0x20);
    int64_t implied = kind == 'x' ? 16 : kind == 'o' ? 8 : kind == 'b' ? 2 : 0;
    if (implied && (base == implied || base == 0)) {
      base = implied;
      text.remove_prefix(2);
    }
  }
  if (base == 0) base = 10;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '_')
      digits += text[i];
    else if (i == 0 || i + 1 == text.size() || text[i + 1] == '_')
      return std::nullopt;
  }
  if (digits.empty() || digits[0] == '-' || digits[0] == '+') return std::nullopt;
  if (negative) digits.insert(0, "-");
  int64_t value = 0;
  auto [end, error] =
      std::from_chars(digits.data(), digits.data() + digits.size(), value, static_cast<int>(base));
  if (end != digits.data() + digits.size()) return std::nullopt;
  if (error == std::errc::result_out_of_range)
    fail("integer overflow: {} exceeds 64 bits", printable(digits, 40));
  return error == std::errc() ? std::optional(value) : std::nullopt;
}

std::optional<double> parse_float(std::string_view text) {
  std::string body(strip(text, nullptr, true, true));
  std::erase(body, '_');
  if (body.empty()) return std::nullopt;
  std::string_view digits = body;
  if (digits[0] == '+' || digits[0] == '-') digits.remove_prefix(1);
  std::string lower = to_lower(digits);
  bool negative = body[0] == '-';
  if (lower == "inf" || lower == "infinity") return negative ? -INFINITY : INFINITY;
  if (lower == "nan") return NAN;
  if (digits.empty() || !((digits[0] >= '0' && digits[0] <= '9') || digits[0] == '.')) return std::nullopt;
  if (digits.find_first_not_of("0123456789.eE+-") != digits.npos) return std::nullopt;
  char* end = nullptr;
  double value = std::strtod(body.c_str(), &end);
  return *end ? std::nullopt : std::optional(value);
}

Value filter_int(Runtime&, const Value& subject, Arguments& arguments) {
  Given given = arguments.bind("int", {"default", "base"});
  require_defined(subject);
  int64_t base = given[1] ? to_int(*given[1], "int's base") : 10;
  if (base != 0 && (base < 2 || base > 36)) fail("int's base must be 0 or between 2 and 36");
  std::optional<double> number;
  if (subject.is_integral()) return Value(subject.as_int());
  if (subject.is_float()) number = subject.as_double();
  if (subject.is_string()) {
    if (std::optional<int64_t> value = parse_int(subject.text(), base)) return Value(*value);
    number = parse_float(subject.text());
  }
  if (number && std::isfinite(*number)) {
    if (std::fabs(*number) >= 9.2e18) fail("integer overflow: {} exceeds 64 bits", *number);
    return Value(static_cast<int64_t>(*number));
  }
  if (subject.is_float()) fail("cannot convert {} to an integer", float_repr(*number));
  return given[0] ? *given[0] : Value(0);
}

Value filter_float(Runtime&, const Value& subject, Arguments& arguments) {
  Given given = arguments.bind("float", {"default"});
  require_defined(subject);
  if (subject.is_number()) return Value(subject.as_double());
  if (subject.is_string())
    if (std::optional<double> value = parse_float(subject.text())) return Value(*value);
  return given[0] ? *given[0] : Value(0.0);
}

Value filter_round(Runtime&, const Value& subject, Arguments& arguments) {
  Given given = arguments.bind("round", {"precision", "method"});
  int64_t precision = given[0] ? to_int(*given[0], "round's precision") : 0;
  std::string method = given[1] ? to_text(*given[1], "round's method") : "common";
  if (method != "common" && method != "ceil" && method != "floor")
    fail("round's method must be common, ceil or floor");
  require_defined(subject);
  if (!subject.is_number()) fail("round needs a number, not {}", type_name(subject));
  if (precision > 300 || precision < -300) fail("round's precision is out of range");
  if (method == "common") {
    if (subject.is_integral() && precision >= 0) return Value(subject.as_int());
    double value = subject.as_double();
    if (!std::isfinite(value)) return subject;
    if (precision >= 0)
      return Value(std::strtod(fmt::format("{:.{}f}", value, static_cast<int>(precision)).c_str(), nullptr));
    double scale = std::pow(10.0, static_cast<double>(-precision));
    double rounded = std::nearbyint(value / scale) * scale;
    return subject.is_integral() ? Value(static_cast<int64_t>(rounded)) : Value(rounded);
  }
  double scale = std::pow(10.0, static_cast<double>(precision));
  double scaled = subject.as_double() * scale;
  return Value((method == "ceil" ? std::ceil(scaled) : std::floor(scaled)) / scale);
}

constexpr Filter kFilters[] = {
    {"abs", filter_abs},
    {"capitalize", text_filter<capitalize>},
    {"center", filter_center},
    {"e", filter_escape},
    {"escape", filter_escape},
    {"float", filter_float},
    {"forceescape", filter_force_escape},
    {"format", filter_format},
    {"indent", filter_indent},
    {"int", filter_int},
    {"lower", text_filter<to_lower>},
    {"replace", filter_replace},
    {"round", filter_round},
    {"safe", filter_safe},
    {"string", filter_string},
    {"title", filter_title},
    {"tojson", filter_tojson},
    {"trim", filter_trim},
    {"truncate", filter_truncate},
    {"upper", text_filter<to_upper>},
    {"urlencode", filter_urlencode},
    {"wordcount", filter_wordcount},
};

}  // namespace

std::span<const Filter> text_filters() {
  return kFilters;
}

}  // namespace fettle::jinja
