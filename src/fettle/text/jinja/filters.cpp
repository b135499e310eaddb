// The filters of Jinja2, with `tojson` as Transformers defines it.
#include <algorithm>
#include <charconv>
#include <cmath>
#include <iterator>

#include "fettle/base/error.h"
#include "fettle/text/jinja/python_text.h"
#include "fettle/text/jinja/runtime.h"

namespace fettle::jinja {
namespace {

using Given = std::vector<const Value*>;

Value none_if_absent(const Value* value) {
  return value ? *value : Value(nullptr);
}
bool flag(const Value* value, bool fallback) {
  return value ? truthy(*value) : fallback;
}

/// Text of any value, still marked safe when it was.
Value soft_text(Runtime& runtime, const Value& value) {
  return value.is_string() ? value : runtime.text(str(value));
}
std::string text_of(const Value& value) {
  return str(value);
}

// ---- looking into items

/// Reads "a.b.0" or an index from each item.
class Getter {
 public:
  Getter(const Value& path, const Value* fallback) : fallback_(fallback) {
    if (path.is_integral()) {
      parts_.push_back(path);
    } else if (!path.is_none()) {
      const std::string& text = to_text(path, "an attribute");
      for (size_t begin = 0; begin <= text.size();) {
        size_t dot = std::min(text.find('.', begin), text.size());
        std::string part = text.substr(begin, dot - begin);
        int64_t index = 0;
        auto [end, error] = std::from_chars(part.data(), part.data() + part.size(), index);
        bool is_index = error == std::errc() && end == part.data() + part.size() && index >= 0;
        parts_.push_back(is_index ? Value(index) : Value(std::move(part)));
        begin = dot + 1;
      }
    }
  }
  Value operator()(Runtime& runtime, Value item) const {
    for (const Value& part : parts_) {
      runtime.tick();
      item = runtime.item(item, part);
      if (item.is_undefined() && fallback_) item = *fallback_;
    }
    return item;
  }

 private:
  std::vector<Value> parts_;
  const Value* fallback_;
};

Value fold_case(const Value& value) {
  return value.is_string() ? Value(to_lower(value.text())) : value;
}

/// The keys by which sort, min, max, unique and groupby see their items.
Values sort_keys(Runtime& runtime, const Values& items, const Value* attribute, bool case_sensitive) {
  std::vector<Getter> getters;
  bool several = false;
  if (attribute && attribute->is_string() && attribute->text().find(',') != std::string::npos) {
    several = true;
    std::string_view rest = attribute->text();
    for (bool more = true; more;) {
      size_t comma = rest.find(',');
      more = comma != rest.npos;
      getters.emplace_back(Value(std::string(rest.substr(0, comma))), nullptr);
      if (more) rest = rest.substr(comma + 1);
    }
  } else if (attribute) {
    getters.emplace_back(*attribute, nullptr);
  }
  Values keys;
  keys.reserve(items.size());
  for (const Value& item : items) {
    auto key_of = [&](const Value& value) { return case_sensitive ? value : fold_case(value); };
    if (!several) {
      keys.push_back(key_of(getters.empty() ? item : getters[0](runtime, item)));
      continue;
    }
    Values parts;
    for (const Getter& getter : getters) parts.push_back(key_of(getter(runtime, item)));
    keys.push_back(Value::list(std::move(parts)));
  }
  return keys;
}

/// Stable order of `keys`.
std::vector<size_t> sorted_order(Runtime& runtime, const Values& keys, bool reverse) {
  std::vector<size_t> order(keys.size());
  for (size_t i = 0; i < order.size(); ++i) order[i] = i;
  // A merge sort by hand: comparisons may throw, and need not be consistent on hostile input.
  std::vector<size_t> other(order.size());
  for (size_t width = 1; width < order.size(); width *= 2) {
    for (size_t begin = 0; begin < order.size(); begin += 2 * width) {
      size_t middle = std::min(begin + width, order.size()), end = std::min(begin + 2 * width, order.size());
      size_t left = begin, right = middle;
      for (size_t at = begin; at < end; ++at) {
        bool take_right = left == middle;
        if (!take_right && right < end) {
          int sign = runtime.compare(keys[order[right]], keys[order[left]]);
          take_right = reverse ? sign > 0 : sign < 0;
        }
        other[at] = take_right ? order[right++] : order[left++];
      }
    }
    order.swap(other);
  }
  return order;
}

// ---- text

template <std::string (*F)(std::string_view)>
Value text_filter(Runtime& runtime, const Value& subject, Arguments& arguments) {
  arguments.bind("filter", {});
  Value text = soft_text(runtime, subject);
  return runtime.text(F(text.text()), text.is_markup());
}

Value filter_title(Runtime& runtime, const Value& subject, Arguments& arguments) {
  arguments.bind("title", {});
  std::string text = text_of(subject), out;
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
  return runtime.text(replace_text(runtime, text_of(subject), text_of(*given[0]), text_of(*given[1]), count));
}

Value filter_center(Runtime& runtime, const Value& subject, Arguments& arguments) {
  Given given = arguments.bind("center", {"width"});
  return runtime.text(
      pad_text(runtime, text_of(subject), given[0] ? to_int(*given[0], "width") : 80, " ", 0));
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
  std::string text = text_of(subject);
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
  return runtime.text(percent_format(runtime, text_of(subject), values));
}

Value filter_string(Runtime& runtime, const Value& subject, Arguments& arguments) {
  arguments.bind("string", {});
  return soft_text(runtime, subject);
}
Value filter_safe(Runtime& runtime, const Value& subject, Arguments& arguments) {
  arguments.bind("safe", {});
  return runtime.text(text_of(subject), true);
}
Value filter_escape(Runtime& runtime, const Value& subject, Arguments& arguments) {
  arguments.bind("escape", {});
  return subject.is_markup() ? subject : runtime.text(escape_html(text_of(subject)), true);
}
Value filter_force_escape(Runtime& runtime, const Value& subject, Arguments& arguments) {
  arguments.bind("forceescape", {});
  return runtime.text(escape_html(text_of(subject)), true);
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
    return runtime.text(quote(text_of(subject), false));
  std::string out;
  auto add = [&](const Value& key, const Value& value) {
    if (!out.empty()) out += '&';
    out += quote(text_of(key), true) + "=" + quote(text_of(value), true);
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

Value filter_sum(Runtime& runtime, const Value& subject, Arguments& arguments) {
  Given given = arguments.bind("sum", {"attribute", "start"});
  Value total = given[1] ? *given[1] : Value(0);
  if (total.is_string()) fail("sum cannot add texts; use join");
  Getter getter(none_if_absent(given[0]), nullptr);
  for (const Value& item : runtime.iterate(subject))
    total = runtime.binary(Operator::kAdd, total, getter(runtime, item));
  return total;
}

// ---- sequences

Value filter_default(Runtime&, const Value& subject, Arguments& arguments) {
  Given given = arguments.bind("default", {"default_value", "boolean"});
  if (subject.is_undefined() || (flag(given[1], false) && !truthy(subject)))
    return given[0] ? *given[0] : Value("");
  return subject;
}

Value filter_length(Runtime& runtime, const Value& subject, Arguments& arguments) {
  arguments.bind("length", {});
  return Value(runtime.length(subject));
}

Value filter_list(Runtime& runtime, const Value& subject, Arguments& arguments) {
  arguments.bind("list", {});
  return runtime.list(runtime.iterate(subject));
}

Value filter_items(Runtime& runtime, const Value& subject, Arguments& arguments) {
  arguments.bind("items", {});
  Values out;
  if (!subject.is_undefined()) {
    if (!subject.is_dict()) fail("Can only get item pairs from a mapping.");
    for (const Entry& entry : subject.entries()) out.push_back(Value::tuple({entry.first, entry.second}));
  }
  return runtime.generator(std::move(out));
}

Value filter_first(Runtime& runtime, const Value& subject, Arguments& arguments) {
  arguments.bind("first", {});
  Value none = Value::undefined("No first item, sequence was empty.");
  if (subject.kind() == Kind::kGenerator) {
    Generator& generator = subject.as<Generator>();
    return generator.next < generator.items.size() ? generator.items[generator.next++] : none;
  }
  if (subject.is_list() || subject.is_tuple())
    return subject.items().empty() ? none : subject.items().front();
  Values items = runtime.iterate(subject);
  return items.empty() ? none : items.front();
}

Value filter_last(Runtime& runtime, const Value& subject, Arguments& arguments) {
  arguments.bind("last", {});
  if (subject.kind() == Kind::kGenerator) fail("'generator' object is not reversible");
  Values items = runtime.iterate(subject);
  return items.empty() ? Value::undefined("No last item, sequence was empty.") : items.back();
}

Value filter_join(Runtime& runtime, const Value& subject, Arguments& arguments) {
  Given given = arguments.bind("join", {"d", "attribute"});
  std::string glue = given[0] ? text_of(*given[0]) : "";
  Getter getter(none_if_absent(given[1]), nullptr);
  std::string out;
  bool first = true;
  for (const Value& item : runtime.iterate(subject)) {
    std::string text = text_of(getter(runtime, item));
    runtime.tick(1 + (text.size() + glue.size()) / 64);
    if (out.size() + text.size() + glue.size() > runtime.limits.max_output)
      runtime.reserve(out.size() + text.size() + glue.size());
    if (!first) out += glue;
    first = false;
    out += text;
  }
  return runtime.text(std::move(out));
}

Value filter_reverse(Runtime& runtime, const Value& subject, Arguments& arguments) {
  arguments.bind("reverse", {});
  if (subject.is_string()) {
    std::vector<std::string_view> chars = split_chars(subject.text());
    std::string out;
    for (auto it = chars.rbegin(); it != chars.rend(); ++it) out += *it;
    return runtime.text(std::move(out), subject.is_markup());
  }
  Values items = runtime.iterate(subject);
  std::reverse(items.begin(), items.end());
  if (subject.kind() == Kind::kGenerator || subject.is_undefined()) return runtime.list(std::move(items));
  return runtime.generator(std::move(items), subject.is_list() ? "list_reverseiterator" : "reversed");
}

Value filter_sort(Runtime& runtime, const Value& subject, Arguments& arguments) {
  Given given = arguments.bind("sort", {"reverse", "case_sensitive", "attribute"});
  Values items = runtime.iterate(subject);
  const Value* attribute = given[2] && !given[2]->is_none() ? given[2] : nullptr;
  Values keys = sort_keys(runtime, items, attribute, flag(given[1], false));
  Values out;
  for (size_t i : sorted_order(runtime, keys, flag(given[0], false))) out.push_back(items[i]);
  return runtime.list(std::move(out));
}

Value filter_dictsort(Runtime& runtime, const Value& subject, Arguments& arguments) {
  Given given = arguments.bind("dictsort", {"case_sensitive", "by", "reverse"});
  std::string by = given[1] ? to_text(*given[1], "dictsort's by") : "key";
  if (by != "key" && by != "value") fail("dictsort sorts by 'key' or 'value'");
  require_defined(subject);
  if (!subject.is_dict()) fail("dictsort needs a mapping, not {}", type_name(subject));
  Values keys, out;
  for (const Entry& entry : subject.entries()) {
    const Value& key = by == "key" ? entry.first : entry.second;
    keys.push_back(flag(given[0], false) ? key : fold_case(key));
  }
  for (size_t i : sorted_order(runtime, keys, flag(given[2], false)))
    out.push_back(Value::tuple({subject.entries()[i].first, subject.entries()[i].second}));
  return runtime.list(std::move(out));
}

template <bool Max>
Value filter_extreme(Runtime& runtime, const Value& subject, Arguments& arguments) {
  Given given = arguments.bind(Max ? "max" : "min", {"case_sensitive", "attribute"});
  Values items = runtime.iterate(subject);
  if (items.empty()) return Value::undefined("No aggregated item, sequence was empty.");
  Values keys =
      sort_keys(runtime, items, given[1] && !given[1]->is_none() ? given[1] : nullptr, flag(given[0], false));
  size_t best = 0;
  for (size_t i = 1; i < items.size(); ++i) {
    int sign = runtime.compare(keys[i], keys[best]);
    if (Max ? sign > 0 : sign < 0) best = i;
  }
  return items[best];
}

Value filter_unique(Runtime& runtime, const Value& subject, Arguments& arguments) {
  Given given = arguments.bind("unique", {"case_sensitive", "attribute"});
  Values items = runtime.iterate(subject), out, seen;
  Values keys =
      sort_keys(runtime, items, given[1] && !given[1]->is_none() ? given[1] : nullptr, flag(given[0], false));
  for (size_t i = 0; i < items.size(); ++i) {
    if (!hashable(keys[i])) fail("unhashable type: '{}'", type_name(keys[i]));
    runtime.tick(seen.size() + 1);
    if (std::any_of(seen.begin(), seen.end(), [&](const Value& old) { return equal(old, keys[i]); }))
      continue;
    seen.push_back(keys[i]);
    out.push_back(items[i]);
  }
  return runtime.generator(std::move(out));
}

Value filter_groupby(Runtime& runtime, const Value& subject, Arguments& arguments) {
  Given given = arguments.bind("groupby", {"attribute", "default", "case_sensitive"}, 1);
  Values items = runtime.iterate(subject), keys, plain, out;
  bool case_sensitive = flag(given[2], false);
  Getter getter(*given[0], given[1]);
  for (const Value& item : items) {
    plain.push_back(getter(runtime, item));
    keys.push_back(case_sensitive ? plain.back() : fold_case(plain.back()));
  }
  std::vector<size_t> order = sorted_order(runtime, keys, false);
  for (size_t i = 0; i < order.size();) {
    size_t first = order[i];
    Values group;
    for (; i < order.size() && equal(keys[order[i]], keys[first]); ++i) group.push_back(items[order[i]]);
    out.push_back(Value::group(plain[first], Value::list(std::move(group))));
  }
  return runtime.list(std::move(out));
}

Value filter_batch(Runtime& runtime, const Value& subject, Arguments& arguments) {
  Given given = arguments.bind("batch", {"linecount", "fill_with"}, 1);
  int64_t size = to_int(*given[0], "batch's size");
  Values out, row;
  auto flush = [&] { out.push_back(runtime.list(std::exchange(row, {}))); };
  for (const Value& item : runtime.iterate(subject)) {
    if (static_cast<int64_t>(row.size()) == size) flush();
    row.push_back(item);
  }
  if (!row.empty()) {
    if (given[1] && !given[1]->is_none() && size > static_cast<int64_t>(row.size())) {
      runtime.reserve(std::min<size_t>(static_cast<size_t>(size), SIZE_MAX / 64) * sizeof(Value));
      row.resize(static_cast<size_t>(size), *given[1]);
    }
    flush();
  }
  return runtime.generator(std::move(out));
}

Value filter_slice(Runtime& runtime, const Value& subject, Arguments& arguments) {
  Given given = arguments.bind("slice", {"slices", "fill_with"}, 1);
  int64_t slices = to_int(*given[0], "slice's count");
  if (slices == 0) fail("integer division by zero");
  if (slices > 100'000) fail("slice's count {} is too large", slices);
  Values items = runtime.iterate(subject), out;
  int64_t size = static_cast<int64_t>(items.size());
  int64_t per = slices > 0 ? size / slices : 0, extra = slices > 0 ? size % slices : 0;
  size_t at = 0;
  for (int64_t i = 0; i < slices; ++i) {
    Values column;
    for (int64_t k = 0; k < per + (i < extra ? 1 : 0); ++k) column.push_back(items[at++]);
    if (given[1] && !given[1]->is_none() && i >= extra) column.push_back(*given[1]);
    out.push_back(runtime.list(std::move(column)));
  }
  return runtime.generator(std::move(out));
}

// ---- functions over items

/// Splits "test or filter name, further arguments" off a call.
std::pair<std::string, Arguments> named_call(const Arguments& arguments, size_t from) {
  Arguments rest;
  rest.positional.assign(arguments.positional.begin() + static_cast<std::ptrdiff_t>(from) + 1,
                         arguments.positional.end());
  rest.keywords = arguments.keywords;
  return {to_text(arguments.positional[from], "the name of a filter or test"), std::move(rest)};
}

Value filter_map(Runtime& runtime, const Value& subject, Arguments& arguments) {
  Values items = runtime.iterate(subject), out;
  if (arguments.positional.empty()) {
    Given given = arguments.bind("map", {"attribute", "default"});
    if (!given[0]) fail("map requires a filter argument");
    Getter getter(*given[0], given[1]);
    for (const Value& item : items) out.push_back(getter(runtime, item));
  } else {
    auto [name, rest] = named_call(arguments, 0);
    for (const Value& item : items) {
      Arguments copy = rest;
      runtime.tick();
      out.push_back(runtime.apply_filter(name, item, copy));
    }
  }
  return runtime.generator(std::move(out));
}

template <bool Keep, bool ByAttribute>
Value filter_select(Runtime& runtime, const Value& subject, Arguments& arguments) {
  if (ByAttribute && arguments.positional.empty()) fail("Missing parameter for attribute name");
  Getter getter(ByAttribute ? arguments.positional[0] : Value(nullptr), nullptr);
  constexpr size_t kName = ByAttribute ? 1 : 0;
  bool has_test = arguments.positional.size() > kName;
  std::pair<std::string, Arguments> test;
  if (has_test) test = named_call(arguments, kName);
  Values out;
  for (const Value& item : runtime.iterate(subject)) {
    runtime.tick();
    Value seen = getter(runtime, item);
    Arguments copy = test.second;
    bool holds = has_test ? runtime.apply_test(test.first, seen, copy) : truthy(seen);
    if (holds == Keep) out.push_back(item);
  }
  return runtime.generator(std::move(out));
}

Value filter_attr(Runtime& runtime, const Value& subject, Arguments& arguments) {
  std::string name = text_of(*arguments.bind("attr", {"name"}, 1)[0]);
  if (!subject.is_dict()) return runtime.attribute(subject, name);
  // Only attributes proper: never the keys of a dict.
  bool mutates = false;
  if (MethodFunction method = find_method(subject, name, mutates))
    return Value::object(Kind::kCallable, std::make_shared<BoundMethod>(subject, method));
  if (name.starts_with("__")) fail("unknown attribute '{}': templates see no internals", printable(name, 60));
  return Value::undefined(fmt::format("'dict' has no attribute '{}'", printable(name, 60)));
}

struct Filter {
  std::string_view name;
  FilterFunction function;
};

// Sorted by name.
constexpr Filter kFilters[] = {
    {"abs", filter_abs},
    {"attr", filter_attr},
    {"batch", filter_batch},
    {"capitalize", text_filter<capitalize>},
    {"center", filter_center},
    {"count", filter_length},
    {"d", filter_default},
    {"default", filter_default},
    {"dictsort", filter_dictsort},
    {"e", filter_escape},
    {"escape", filter_escape},
    {"first", filter_first},
    {"float", filter_float},
    {"forceescape", filter_force_escape},
    {"format", filter_format},
    {"groupby", filter_groupby},
    {"indent", filter_indent},
    {"int", filter_int},
    {"items", filter_items},
    {"join", filter_join},
    {"last", filter_last},
    {"length", filter_length},
    {"list", filter_list},
    {"lower", text_filter<to_lower>},
    {"map", filter_map},
    {"max", filter_extreme<true>},
    {"min", filter_extreme<false>},
    {"reject", filter_select<false, false>},
    {"rejectattr", filter_select<false, true>},
    {"replace", filter_replace},
    {"reverse", filter_reverse},
    {"round", filter_round},
    {"safe", filter_safe},
    {"select", filter_select<true, false>},
    {"selectattr", filter_select<true, true>},
    {"slice", filter_slice},
    {"sort", filter_sort},
    {"string", filter_string},
    {"sum", filter_sum},
    {"title", filter_title},
    {"tojson", filter_tojson},
    {"trim", filter_trim},
    {"truncate", filter_truncate},
    {"unique", filter_unique},
    {"upper", text_filter<to_upper>},
    {"urlencode", filter_urlencode},
    {"wordcount", filter_wordcount},
};

}  // namespace

FilterFunction find_filter(std::string_view name) {
  auto it =
      std::lower_bound(std::begin(kFilters), std::end(kFilters), name,
                       [](const Filter& filter, std::string_view wanted) { return filter.name < wanted; });
  return it != std::end(kFilters) && it->name == name ? it->function : nullptr;
}

}  // namespace fettle::jinja
