// Methods of text, lists and dicts that templates may call: those of Python that change nothing.
#include <algorithm>
#include <iterator>

#include "fettle/text/jinja/python_text.h"
#include "fettle/text/jinja/runtime.h"

namespace fettle::jinja {
namespace {

using Given = std::vector<const Value*>;

/// Text derived from `self`: safe when `self` was marked safe.
Value like(Runtime& runtime, const Value& self, std::string text) {
  return runtime.text(std::move(text), self.is_markup());
}

template <std::string (*F)(std::string_view)>
Value mapped(Runtime& runtime, const Value& self, Arguments& arguments) {
  arguments.bind("method", {});
  return like(runtime, self, F(self.text()));
}

template <bool Left, bool Right>
Value stripped(Runtime& runtime, const Value& self, Arguments& arguments) {
  arguments.refuse_keywords("strip");
  Given given = arguments.bind("strip", {"chars"});
  const std::string* chars =
      given[0] && !given[0]->is_none() ? &to_text(*given[0], "strip's argument") : nullptr;
  runtime.tick(chars ? self.text().size() / 16 * (1 + chars->size() / 16) : self.text().size() / 64);
  return like(runtime, self, std::string(strip(self.text(), chars, Left, Right)));
}

int64_t limit_of(const Value* value) {
  return value ? to_int(*value, "maxsplit") : -1;
}

/// Pieces of `text` between runs of whitespace.
std::vector<std::string_view> split_space(std::string_view text, int64_t limit, bool from_right) {
  std::vector<std::string_view> out;
  std::string_view rest = from_right ? strip(text, nullptr, false, true) : strip(text, nullptr, true, false);
  while (!rest.empty()) {
    if (limit >= 0 && static_cast<int64_t>(out.size()) == limit) {
      out.push_back(rest);
      break;
    }
    if (!from_right) {
      size_t end = 0;
      while (end < rest.size()) {
        size_t next = end;
        if (is_space(next_char(rest, next))) break;
        end = next;
      }
      out.push_back(rest.substr(0, end));
      rest = strip(rest.substr(end), nullptr, true, false);
    } else {
      size_t begin = rest.size();
      while (begin > 0) {
        size_t back = begin - 1;
        while (back > 0 && (static_cast<unsigned char>(rest[back]) & 0xC0) == 0x80) --back;
        size_t pos = back;
        if (is_space(next_char(rest, pos))) break;
        begin = back;
      }
      out.push_back(rest.substr(begin));
      rest = strip(rest.substr(0, begin), nullptr, false, true);
    }
  }
  if (from_right) std::reverse(out.begin(), out.end());
  return out;
}

std::vector<std::string_view> split_by(std::string_view text, std::string_view separator, int64_t limit,
                                       bool from_right) {
  if (separator.empty()) fail("empty separator");
  std::vector<std::string_view> out;
  while (limit < 0 || static_cast<int64_t>(out.size()) < limit) {
    size_t at = from_right ? text.rfind(separator) : text.find(separator);
    if (at == text.npos) break;
    if (from_right) {
      out.push_back(text.substr(at + separator.size()));
      text = text.substr(0, at);
    } else {
      out.push_back(text.substr(0, at));
      text = text.substr(at + separator.size());
    }
  }
  out.push_back(text);
  if (from_right) std::reverse(out.begin(), out.end());
  return out;
}

Value pieces(Runtime& runtime, const Value& self, const std::vector<std::string_view>& parts) {
  Values out;
  runtime.reserve(self.text().size() + parts.size() * (sizeof(Value) + 64));
  for (std::string_view part : parts) out.emplace_back(std::string(part), self.is_markup());
  return Value::list(std::move(out));
}

template <bool FromRight>
Value split(Runtime& runtime, const Value& self, Arguments& arguments) {
  Given given = arguments.bind("split", {"sep", "maxsplit"});
  int64_t limit = limit_of(given[1]);
  if (!given[0] || given[0]->is_none())
    return pieces(runtime, self, split_space(self.text(), limit, FromRight));
  return pieces(runtime, self,
                split_by(self.text(), to_text(*given[0], "split's separator"), limit, FromRight));
}

Value splitlines(Runtime& runtime, const Value& self, Arguments& arguments) {
  Given given = arguments.bind("splitlines", {"keepends"});
  return pieces(runtime, self, split_lines(self.text(), given[0] && truthy(*given[0])));
}

template <bool FromRight>
Value partition(Runtime& runtime, const Value& self, Arguments& arguments) {
  const std::string& separator =
      to_text(*arguments.bind("partition", {"sep"}, 1)[0], "partition's separator");
  if (separator.empty()) fail("empty separator");
  const std::string& whole = self.text();
  size_t at = FromRight ? whole.rfind(separator) : whole.find(separator);
  auto part = [&](std::string text) { return like(runtime, self, std::move(text)); };
  if (at == std::string::npos)
    return FromRight ? Value::tuple({part(""), part(""), part(whole)})
                     : Value::tuple({part(whole), part(""), part("")});
  return Value::tuple(
      {part(whole.substr(0, at)), part(separator), part(whole.substr(at + separator.size()))});
}

/// The part of the text that optional start and end positions select, and where it begins.
struct Window {
  std::string_view text;
  int64_t first = 0;
  bool valid = true;
};
Window window(const Value& self, const Value* start, const Value* end) {
  auto given = [](const Value* v) { return v ? *v : Value(nullptr); };
  if (!start && !end) return {self.text(), 0, true};
  int64_t size = char_count(self.text());
  SliceRange range = resolve_slice(given(start), given(end), Value(nullptr), size);
  bool valid = range.start <= range.stop;
  if (start && start->is_int() && start->as_int() > size) valid = false;
  size_t begin = byte_offset(self.text(), range.start);
  std::string_view rest = std::string_view(self.text()).substr(begin);
  return {rest.substr(0, byte_offset(rest, range.count)), range.start, valid};
}

template <bool AtEnd>
Value affix(Runtime& runtime, const Value& self, Arguments& arguments) {
  const char* name = AtEnd ? "endswith" : "startswith";
  arguments.refuse_keywords(name);
  Given given = arguments.bind(name, {"prefix", "start", "end"}, 1);
  Window part = window(self, given[1], given[2]);
  auto matches = [&](const Value& affix) {
    const std::string& text = to_text(affix, fmt::format("{}'s argument", name));
    return part.valid && (AtEnd ? part.text.ends_with(text) : part.text.starts_with(text));
  };
  if (given[0]->is_tuple())
    return Value(std::any_of(given[0]->items().begin(), given[0]->items().end(), matches));
  return Value(matches(*given[0]));
}

template <bool FromRight, bool MustBeThere>
Value find(Runtime& runtime, const Value& self, Arguments& arguments) {
  arguments.refuse_keywords("find");
  Given given = arguments.bind("find", {"sub", "start", "end"}, 1);
  Window part = window(self, given[1], given[2]);
  const std::string& wanted = to_text(*given[0], "find's argument");
  size_t at = !part.valid ? part.text.npos : FromRight ? part.text.rfind(wanted) : part.text.find(wanted);
  if (at == part.text.npos) {
    if (MustBeThere) fail("substring not found");
    return Value(-1);
  }
  return Value(part.first + char_count(part.text.substr(0, at)));
}

Value count_text(Runtime& runtime, const Value& self, Arguments& arguments) {
  arguments.refuse_keywords("count");
  Given given = arguments.bind("count", {"sub", "start", "end"}, 1);
  Window part = window(self, given[1], given[2]);
  const std::string& wanted = to_text(*given[0], "count's argument");
  if (!part.valid) return Value(0);
  if (wanted.empty()) return Value(char_count(part.text) + 1);
  int64_t count = 0;
  for (size_t at = 0; (at = part.text.find(wanted, at)) != part.text.npos; at += wanted.size()) ++count;
  return Value(count);
}

Value replace(Runtime& runtime, const Value& self, Arguments& arguments) {
  Given given = arguments.bind("replace", {"old", "new", "count"}, 2);
  auto side = [&](const Value& v) {
    const std::string& text = to_text(v, "replace's argument");
    return self.is_markup() && !v.is_markup() ? escape_html(text) : text;
  };
  std::string old = side(*given[0]), fresh = side(*given[1]);
  return like(
      runtime, self,
      replace_text(runtime, self.text(), old, fresh, given[2] ? to_int(*given[2], "replace's count") : -1));
}

Value join(Runtime& runtime, const Value& self, Arguments& arguments) {
  arguments.refuse_keywords("join");
  const Value& iterable = *arguments.bind("join", {"iterable"}, 1)[0];
  require_defined(iterable);
  std::string out;
  bool first = true;
  for (const Value& item : runtime.iterate(iterable)) {
    const std::string& text = to_text(item, "an item of join");
    runtime.reserve(out.size() / 64 + text.size() + self.text().size());
    if (!first) out += self.text();
    first = false;
    out += self.is_markup() && !item.is_markup() ? escape_html(text) : text;
    if (out.size() > runtime.limits.max_output) runtime.reserve(out.size());
  }
  return like(runtime, self, std::move(out));
}

template <int Side>  // -1: text left, 0: centre, 1: text right
Value justify(Runtime& runtime, const Value& self, Arguments& arguments) {
  arguments.refuse_keywords("justify");
  Given given = arguments.bind("justify", {"width", "fillchar"}, 1);
  std::string fill = given[1] ? to_text(*given[1], "the fill character") : " ";
  if (char_count(fill) != 1) fail("the fill character must be exactly one character long");
  return like(runtime, self, pad_text(runtime, self.text(), to_int(*given[0], "the width"), fill, Side));
}

Value zfill(Runtime& runtime, const Value& self, Arguments& arguments) {
  int64_t width = to_int(*arguments.bind("zfill", {"width"}, 1)[0], "the width");
  std::string sign, digits = self.text();
  if (!digits.empty() && (digits[0] == '-' || digits[0] == '+')) {
    sign = digits.substr(0, 1);
    digits.erase(0, 1);
  }
  int64_t least = width - static_cast<int64_t>(sign.size());
  return like(runtime, self, sign + pad_text(runtime, digits, least, "0", 1));
}

Value expandtabs(Runtime& runtime, const Value& self, Arguments& arguments) {
  Given given = arguments.bind("expandtabs", {"tabsize"});
  int64_t size = given[0] ? to_int(*given[0], "the tab size") : 8;
  std::string out;
  int64_t column = 0;
  for (size_t pos = 0; pos < self.text().size();) {
    char32_t c = next_char(self.text(), pos);
    if (c == '\t') {
      int64_t pad = size > 0 ? size - column % size : 0;
      runtime.reserve(static_cast<size_t>(pad));
      out.append(static_cast<size_t>(pad), ' ');
      column += pad;
    } else {
      append_char(out, c);
      column = c == '\n' || c == '\r' ? 0 : column + 1;
    }
  }
  return like(runtime, self, std::move(out));
}

template <bool Prefix>
Value without_affix(Runtime& runtime, const Value& self, Arguments& arguments) {
  arguments.refuse_keywords("removeprefix");
  const std::string& affix = to_text(*arguments.bind("removeprefix", {"affix"}, 1)[0], "the affix");
  std::string_view text = self.text();
  if (Prefix && text.starts_with(affix))
    text.remove_prefix(affix.size());
  else if (!Prefix && !affix.empty() && text.ends_with(affix))
    text.remove_suffix(affix.size());
  return like(runtime, self, std::string(text));
}

template <bool (*F)(char32_t)>
Value all_chars(Runtime&, const Value& self, Arguments& arguments) {
  arguments.bind("method", {});
  for (size_t pos = 0; pos < self.text().size();)
    if (!F(next_char(self.text(), pos))) return Value(false);
  return Value(!self.text().empty());
}
bool is_alnum(char32_t c) {
  return is_alpha(c) || is_numeric(c) || is_decimal(c) || is_digit(c);
}

template <bool Upper>
Value is_case(Runtime&, const Value& self, Arguments& arguments) {
  arguments.bind("method", {});
  return Value(has_case(self.text(), Upper));
}

Value is_ascii(Runtime&, const Value& self, Arguments& arguments) {
  arguments.bind("isascii", {});
  return Value(std::all_of(self.text().begin(), self.text().end(), [](char c) { return !(c & 0x80); }));
}
Value is_printable_text(Runtime&, const Value& self, Arguments& arguments) {
  arguments.bind("isprintable", {});
  for (size_t pos = 0; pos < self.text().size();)
    if (!is_printable(next_char(self.text(), pos))) return Value(false);
  return Value(true);
}
Value is_identifier(Runtime&, const Value& self, Arguments& arguments) {
  arguments.bind("isidentifier", {});
  for (size_t pos = 0; pos < self.text().size();) {
    bool first = pos == 0;
    char32_t c = next_char(self.text(), pos);
    if (c != '_' && !is_alpha(c) && (first || !is_decimal(c))) return Value(false);
  }
  return Value(!self.text().empty());
}
Value is_title_text(Runtime&, const Value& self, Arguments& arguments) {
  arguments.bind("istitle", {});
  bool inside = false, any = false;
  for (size_t pos = 0; pos < self.text().size();) {
    char32_t c = next_char(self.text(), pos);
    bool starts = is_upper(c) || is_title(c);
    if ((starts && inside) || (is_lower(c) && !inside)) return Value(false);
    inside = is_cased(c);
    any = any || inside;
  }
  return Value(any);
}

Value format(Runtime& runtime, const Value& self, Arguments& arguments) {
  return like(runtime, self, brace_format(runtime, self.text(), arguments));
}
Value format_map(Runtime& runtime, const Value& self, Arguments& arguments) {
  const Value& mapping = *arguments.bind("format_map", {"mapping"}, 1)[0];
  if (!mapping.is_dict()) fail("format_map() needs a mapping, not {}", type_name(mapping));
  Arguments unpacked;
  for (const Entry& entry : mapping.entries())
    if (entry.first.is_string()) unpacked.keywords.emplace_back(entry.first.text(), entry.second);
  return like(runtime, self, brace_format(runtime, self.text(), unpacked));
}

Value not_available(Runtime&, const Value& self, Arguments&) {
  fail("this method of {} is not available to templates", type_name(self));
}

// ---- containers

Value dict_get(Runtime&, const Value& self, Arguments& arguments) {
  arguments.refuse_keywords("get");
  Given given = arguments.bind("get", {"key", "default"}, 1);
  if (!hashable(*given[0])) fail("unhashable type: '{}'", type_name(*given[0]));
  if (const Value* found = self.find(*given[0])) return *found;
  return given[1] ? *given[1] : Value(nullptr);
}

template <View::Part Part>
Value dict_view(Runtime&, const Value& self, Arguments& arguments) {
  arguments.bind("view", {});
  auto view = std::make_shared<View>();
  view->part = Part;
  view->dict = self;
  view->depth = self.depth() + 1;
  return Value::object(Kind::kView, std::move(view));
}

Value copy(Runtime&, const Value& self, Arguments& arguments) {
  arguments.bind("copy", {});
  return self;
}

Value sequence_count(Runtime& runtime, const Value& self, Arguments& arguments) {
  const Value& item = *arguments.bind("count", {"value"}, 1)[0];
  runtime.tick(self.items().size());
  return Value(static_cast<int64_t>(std::count_if(self.items().begin(), self.items().end(),
                                                  [&](const Value& v) { return equal(v, item); })));
}
Value sequence_index(Runtime& runtime, const Value& self, Arguments& arguments) {
  Given given = arguments.bind("index", {"value", "start", "stop"}, 1);
  auto bound = [&](const Value* v) { return v ? *v : Value(nullptr); };
  SliceRange range = resolve_slice(bound(given[1]), bound(given[2]), Value(nullptr),
                                   static_cast<int64_t>(self.items().size()));
  runtime.tick(self.items().size());
  for (int64_t i = range.start; i < range.stop; ++i)
    if (equal(self.items()[static_cast<size_t>(i)], *given[0])) return Value(i);
  fail("{} is not in the list", repr(*given[0]));
}

Value is_integer(Runtime&, const Value& self, Arguments& arguments) {
  arguments.bind("is_integer", {});
  double value = self.as_double();
  return Value(value == static_cast<double>(static_cast<long double>(value)) && value - value == 0 &&
               value == __builtin_floor(value));
}
Value bit_length(Runtime&, const Value& self, Arguments& arguments) {
  arguments.bind("bit_length", {});
  int64_t value = self.as_int();
  uint64_t magnitude = value < 0 ? 0 - static_cast<uint64_t>(value) : static_cast<uint64_t>(value);
  return Value(magnitude ? 64 - __builtin_clzll(magnitude) : 0);
}

struct Method {
  std::string_view name;
  MethodFunction function;
};

// Sorted by name.
constexpr Method kTextMethods[] = {
    {"capitalize", mapped<capitalize>},
    {"casefold", mapped<case_fold>},
    {"center", justify<0>},
    {"count", count_text},
    {"encode", not_available},
    {"endswith", affix<true>},
    {"expandtabs", expandtabs},
    {"find", find<false, false>},
    {"format", format},
    {"format_map", format_map},
    {"index", find<false, true>},
    {"isalnum", all_chars<is_alnum>},
    {"isalpha", all_chars<is_alpha>},
    {"isascii", is_ascii},
    {"isdecimal", all_chars<is_decimal>},
    {"isdigit", all_chars<is_digit>},
    {"isidentifier", is_identifier},
    {"islower", is_case<false>},
    {"isnumeric", all_chars<is_numeric>},
    {"isprintable", is_printable_text},
    {"isspace", all_chars<is_space>},
    {"istitle", is_title_text},
    {"isupper", is_case<true>},
    {"join", join},
    {"ljust", justify<-1>},
    {"lower", mapped<to_lower>},
    {"lstrip", stripped<true, false>},
    {"maketrans", not_available},
    {"partition", partition<false>},
    {"removeprefix", without_affix<true>},
    {"removesuffix", without_affix<false>},
    {"replace", replace},
    {"rfind", find<true, false>},
    {"rindex", find<true, true>},
    {"rjust", justify<1>},
    {"rpartition", partition<true>},
    {"rsplit", split<true>},
    {"rstrip", stripped<false, true>},
    {"split", split<false>},
    {"splitlines", splitlines},
    {"startswith", affix<false>},
    {"strip", stripped<true, true>},
    {"swapcase", mapped<swap_case>},
    {"title", mapped<to_title>},
    {"translate", not_available},
    {"upper", mapped<to_upper>},
    {"zfill", zfill},
};
constexpr Method kDictMethods[] = {
    {"copy", copy},
    {"fromkeys", not_available},
    {"get", dict_get},
    {"items", dict_view<View::Part::kItems>},
    {"keys", dict_view<View::Part::kKeys>},
    {"values", dict_view<View::Part::kValues>},
};
constexpr Method kListMethods[] = {{"copy", copy}, {"count", sequence_count}, {"index", sequence_index}};
constexpr Method kTupleMethods[] = {{"count", sequence_count}, {"index", sequence_index}};
constexpr Method kIntMethods[] = {{"bit_length", bit_length}};
constexpr Method kFloatMethods[] = {{"is_integer", is_integer}};

constexpr std::string_view kDictMutators[] = {"clear", "pop", "popitem", "setdefault", "update"};
constexpr std::string_view kListMutators[] = {"append", "clear",  "extend",  "insert",
                                              "pop",    "remove", "reverse", "sort"};

template <size_t N>
MethodFunction look_up(const Method (&table)[N], std::string_view name) {
  auto it =
      std::lower_bound(std::begin(table), std::end(table), name,
                       [](const Method& method, std::string_view wanted) { return method.name < wanted; });
  return it != std::end(table) && it->name == name ? it->function : nullptr;
}
template <size_t N>
bool listed(const std::string_view (&names)[N], std::string_view name) {
  return std::find(std::begin(names), std::end(names), name) != std::end(names);
}

}  // namespace

std::string replace_text(Runtime& runtime, const std::string& text, const std::string& old,
                         const std::string& fresh, int64_t count) {
  std::string out;
  size_t from = 0;
  auto grown = [&](size_t more) {
    runtime.tick();
    if (out.size() + more > runtime.limits.max_output) runtime.reserve(out.size() + more);
  };
  if (old.empty()) {  // between all characters
    std::vector<std::string_view> chars = split_chars(text);
    for (size_t i = 0; i <= chars.size(); ++i) {
      if (count < 0 || count-- > 0) {
        grown(fresh.size());
        out += fresh;
      }
      if (i < chars.size()) out += chars[i];
    }
    return out;
  }
  for (; count != 0; --count) {
    size_t at = text.find(old, from);
    if (at == std::string::npos) break;
    grown(at - from + fresh.size());
    out.append(text, from, at - from);
    out += fresh;
    from = at + old.size();
  }
  return out.append(text, from);
}

std::string pad_text(Runtime& runtime, std::string_view text, int64_t width, std::string_view fill,
                     int side) {
  int64_t pad = std::max<int64_t>(width - char_count(text), 0);
  if (static_cast<uint64_t>(pad) > runtime.limits.max_output) fail("the padded text is too long");
  runtime.reserve(static_cast<size_t>(pad) * fill.size());
  int64_t left = side < 0 ? 0 : side > 0 ? pad : pad / 2 + (pad & width & 1);
  std::string out;
  for (int64_t i = 0; i < left; ++i) out += fill;
  out += text;
  for (int64_t i = left; i < pad; ++i) out += fill;
  return out;
}

bool has_case(std::string_view text, bool upper) {
  bool any = false;
  for (size_t pos = 0; pos < text.size();) {
    char32_t c = next_char(text, pos);
    if (upper ? is_lower(c) || is_title(c) : is_upper(c) || is_title(c)) return false;
    any = any || is_cased(c);
  }
  return any;
}

MethodFunction find_method(const Value& self, std::string_view name, bool& mutates) {
  switch (self.kind()) {
    case Kind::kString:
      return look_up(kTextMethods, name);
    case Kind::kDict:
      mutates = listed(kDictMutators, name);
      return look_up(kDictMethods, name);
    case Kind::kList:
      mutates = listed(kListMutators, name);
      return look_up(kListMethods, name);
    case Kind::kTuple:
      return look_up(kTupleMethods, name);
    case Kind::kBool:
    case Kind::kInt:
      return look_up(kIntMethods, name);
    case Kind::kFloat:
      return look_up(kFloatMethods, name);
    default:
      return nullptr;
  }
}

}  // namespace fettle::jinja
