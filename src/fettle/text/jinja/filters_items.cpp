// Filters of lists, dicts and whatever else has items.
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
  std::string glue = given[0] ? str(*given[0]) : "";
  Getter getter(none_if_absent(given[1]), nullptr);
  std::string out;
  bool first = true;
  for (const Value& item : runtime.iterate(subject)) {
    std::string text = str(getter(runtime, item));
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
  std::string name = str(*arguments.bind("attr", {"name"}, 1)[0]);
  if (!subject.is_dict()) return runtime.attribute(subject, name);
  // Only attributes proper: never the keys of a dict.
  bool mutates = false;
  if (MethodFunction method = find_method(subject, name, mutates))
    return Value::object(Kind::kCallable, std::make_shared<BoundMethod>(subject, method));
  if (name.starts_with("__")) fail("unknown attribute '{}': templates see no internals", printable(name, 60));
  return Value::undefined(fmt::format("'dict' has no attribute '{}'", printable(name, 60)));
}

constexpr Filter kFilters[] = {
    {"attr", filter_attr},
    {"batch", filter_batch},
    {"count", filter_length},
    {"d", filter_default},
    {"default", filter_default},
    {"dictsort", filter_dictsort},
    {"first", filter_first},
    {"groupby", filter_groupby},
    {"items", filter_items},
    {"join", filter_join},
    {"last", filter_last},
    {"length", filter_length},
    {"list", filter_list},
    {"map", filter_map},
    {"max", filter_extreme<true>},
    {"min", filter_extreme<false>},
    {"reject", filter_select<false, false>},
    {"rejectattr", filter_select<false, true>},
    {"reverse", filter_reverse},
    {"select", filter_select<true, false>},
    {"selectattr", filter_select<true, true>},
    {"slice", filter_slice},
    {"sort", filter_sort},
    {"sum", filter_sum},
    {"unique", filter_unique},
};

}  // namespace

std::span<const Filter> item_filters() {
  return kFilters;
}

}  // namespace fettle::jinja
