#include "fettle/text/jinja/runtime.h"

#include <algorithm>
#include <cmath>

#include "fettle/base/error.h"
#include "fettle/text/jinja/python_text.h"

namespace fettle::jinja {

std::vector<const Value*> Arguments::bind(std::string_view function, std::initializer_list<const char*> names,
                                          size_t required) const {
  std::vector<const Value*> out(names.size(), nullptr);
  if (positional.size() > names.size())
    fail("{}() takes at most {} arguments, got {}", function, names.size(), positional.size());
  for (size_t i = 0; i < positional.size(); ++i) out[i] = &positional[i];
  for (const auto& [name, value] : keywords) {
    size_t i = 0;
    for (const char* known : names) {
      if (name == known) break;
      ++i;
    }
    if (i == names.size())
      fail("{}() got an unexpected keyword argument '{}'", function, printable(name, 40));
    if (out[i]) fail("{}() got multiple values for argument '{}'", function, name);
    out[i] = &value;
  }
  for (size_t i = 0; i < required; ++i)
    if (!out[i]) fail("{}() is missing the argument '{}'", function, names.begin()[i]);
  return out;
}

void Arguments::refuse_keywords(std::string_view function) const {
  if (!keywords.empty()) fail("{}() takes no keyword arguments", function);
}

void require_defined(const Value& value) {
  if (value.is_undefined()) fail("{}", value.undefined_reason());
}

int64_t to_int(const Value& value, std::string_view what) {
  require_defined(value);
  if (!value.is_integral()) fail("{} must be an integer, not {}", what, type_name(value));
  return value.as_int();
}

const std::string& to_text(const Value& value, std::string_view what) {
  require_defined(value);
  if (!value.is_string()) fail("{} must be text, not {}", what, type_name(value));
  return value.text();
}

void Runtime::reserve(size_t bytes) {
  if (bytes > limits.max_output) fail("the template makes a text or list above {} bytes", limits.max_output);
  memory += bytes;
  if (memory > limits.max_memory) fail("the template needs more than {} bytes of memory", limits.max_memory);
  tick(bytes / 256);
}

Value Runtime::text(std::string text, bool markup) {
  reserve(text.size());
  return Value(std::move(text), markup);
}
Value Runtime::list(Values items) {
  reserve(items.size() * sizeof(Value));
  return Value::list(std::move(items));
}
Value Runtime::generator(Values items, const char* type) {
  reserve(items.size() * sizeof(Value));
  auto object = std::make_shared<Generator>();
  object->depth = container_depth(items);
  object->items = std::move(items);
  object->type = type;
  return Value::object(Kind::kGenerator, std::move(object));
}

Value Runtime::attribute(const Value& object, std::string_view name) {
  require_defined(object);
  if (object.kind() == Kind::kNamespace) {
    for (const auto& [key, value] : object.as<Namespace>().attributes)
      if (key == name) return value;
  } else if (object.kind() == Kind::kLoop || object.kind() == Kind::kCallable) {
    MethodFunction method =
        object.kind() == Kind::kLoop ? find_loop_method(name) : find_cycler_method(object, name);
    if (method) return Value::object(Kind::kCallable, std::make_shared<BoundMethod>(object, method));
    if (!name.starts_with('_')) return object.as<Callable>().attribute(name);
  } else {
    bool mutates = false;
    if (MethodFunction method = find_method(object, name, mutates))
      return Value::object(Kind::kCallable, std::make_shared<BoundMethod>(object, method));
    if (mutates)
      return Value::undefined(
          fmt::format("'{}' would change a {}; templates cannot change values", name, type_name(object)));
  }
  if (object.is_dict())
    if (const Value* found = object.find(name)) return *found;
  if (object.is_group() && (name == "grouper" || name == "list")) return object.items()[name == "list"];
  if (name.starts_with("__") ||
      ((object.kind() == Kind::kLoop || object.kind() == Kind::kCallable) && name.starts_with('_')))
    fail("unknown attribute '{}': templates see no internals", printable(name, 60));
  return Value::undefined(fmt::format("'{}' has no attribute '{}'", type_name(object), printable(name, 60)));
}

Value Runtime::item(const Value& object, const Value& key) {
  require_defined(object);
  switch (object.kind()) {
    case Kind::kDict:
      if (hashable(key))
        if (const Value* found = object.find(key)) return *found;
      break;
    case Kind::kList:
    case Kind::kTuple:
    case Kind::kString:
    case Kind::kRange:
      if (key.is_integral()) {
        int64_t index = key.as_int();
        int64_t size = length(object);
        if (index < 0) index += size;
        if (index < 0 || index >= size)
          return Value::undefined(fmt::format("'{}' has no element {}", type_name(object), key.as_int()));
        if (object.kind() == Kind::kRange) return Value(object.as<Range>().at(index));
        if (!object.is_string()) return object.items()[static_cast<size_t>(index)];
        tick(object.text().size() / 256);
        size_t begin = byte_offset(object.text(), index), end = begin;
        next_char(object.text(), end);
        return Value(object.text().substr(begin, end - begin), object.is_markup());
      }
      break;
    default:
      break;
  }
  if (key.is_string()) {
    Value found = object.is_dict() ? Value() : attribute(object, key.text());
    if (object.is_dict()) {
      bool mutates = false;
      if (MethodFunction method = find_method(object, key.text(), mutates))
        return Value::object(Kind::kCallable, std::make_shared<BoundMethod>(object, method));
      if (key.text().starts_with("__"))
        fail("unknown attribute '{}': templates see no internals", key.text());
    } else if (!found.is_undefined()) {
      return found;
    }
  }
  return Value::undefined(fmt::format("'{}' has no element {}", type_name(object), printable(repr(key), 60)));
}

SliceRange resolve_slice(const Value& start, const Value& stop, const Value& step, int64_t size) {
  auto given = [](const Value& v) {
    if (v.is_undefined()) fail("{}", v.undefined_reason());
    return !v.is_none();
  };
  SliceRange out{};
  out.step = given(step) ? to_int(step, "a slice index") : 1;
  if (out.step == 0) fail("slice step cannot be zero");
  auto clamp = [&](int64_t at) {
    if (at < 0) at = at < -size ? -1 : at + size;
    if (at < 0) return out.step < 0 ? int64_t{-1} : int64_t{0};
    if (at >= size) return out.step < 0 ? size - 1 : size;
    return at;
  };
  out.start = given(start) ? clamp(to_int(start, "a slice index")) : out.step < 0 ? size - 1 : 0;
  out.stop = given(stop) ? clamp(to_int(stop, "a slice index")) : out.step < 0 ? -1 : size;
  Range range;
  range.start = out.start, range.stop = out.stop, range.step = out.step;
  out.count = range.size();
  return out;
}

Value Runtime::slice(const Value& object, const Value& start, const Value& stop, const Value& step) {
  require_defined(object);
  if (!object.is_string() && !object.is_list() && !object.is_tuple() && object.kind() != Kind::kRange)
    return Value::undefined(fmt::format("'{}' cannot be sliced", type_name(object)));
  SliceRange range = resolve_slice(start, stop, step, length(object));
  tick(static_cast<uint64_t>(range.count) / 16);
  if (object.is_string()) {
    const std::string& whole = object.text();
    if (range.step == 1) {
      size_t begin = byte_offset(whole, range.start);
      std::string_view rest = std::string_view(whole).substr(begin);
      return text(std::string(rest.substr(0, byte_offset(rest, range.count))), object.is_markup());
    }
    std::vector<std::string_view> chars = split_chars(whole);
    std::string out;
    for (int64_t i = 0, at = range.start; i < range.count; ++i, at += range.step)
      out += chars[static_cast<size_t>(at)];
    return text(std::move(out), object.is_markup());
  }
  if (object.kind() == Kind::kRange) {
    const Range& whole = object.as<Range>();
    auto part = std::make_shared<Range>();
    part->start = whole.at(range.start);
    part->stop = whole.at(range.stop);
    part->step = whole.step * range.step;
    return Value::object(Kind::kRange, std::move(part));
  }
  Values out;
  reserve(static_cast<size_t>(range.count) * sizeof(Value));
  for (int64_t i = 0, at = range.start; i < range.count; ++i, at += range.step)
    out.push_back(object.items()[static_cast<size_t>(at)]);
  return object.is_list() ? Value::list(std::move(out)) : Value::tuple(std::move(out));
}

Value BoundMethod::call(Runtime& runtime, Arguments& arguments) {
  // A method may look at all of its text or list, which costs more than one step.
  if (self.is_string()) runtime.tick(self.text().size() / 64);
  if (self.is_list() || self.is_tuple()) runtime.tick(self.items().size() / 4);
  return function(runtime, self, arguments);
}

Value Runtime::call(const Value& callee, Arguments& arguments) {
  require_defined(callee);
  if (callee.kind() != Kind::kCallable && callee.kind() != Kind::kLoop)
    fail("a {} cannot be called", type_name(callee));
  struct Depth {
    explicit Depth(Runtime& runtime) : runtime(runtime) {
      if (++runtime.call_depth > runtime.limits.max_call_depth)
        fail("calls nested deeper than {} levels", runtime.limits.max_call_depth);
    }
    ~Depth() { --runtime.call_depth; }
    Runtime& runtime;
  } depth(*this);
  tick();
  // The callee must outlive the call even when the template overwrites its variable meanwhile.
  std::shared_ptr<Object> keep = callee.shared();
  return static_cast<Callable&>(*keep).call(*this, arguments);
}

Values Runtime::iterate(const Value& value) {
  Values out;
  switch (value.kind()) {
    case Kind::kUndefined:
      break;
    case Kind::kList:
    case Kind::kTuple:
      out = value.items();
      break;
    case Kind::kString: {
      reserve(value.text().size() * sizeof(Value) / 4);
      for (std::string_view c : split_chars(value.text()))
        out.emplace_back(std::string(c), value.is_markup());
      break;
    }
    case Kind::kDict:
      for (const Entry& entry : value.entries()) out.push_back(entry.first);
      break;
    case Kind::kRange: {
      const Range& range = value.as<Range>();
      for (int64_t i = 0, n = range.size(); i < n; ++i) out.emplace_back(range.at(i));
      break;
    }
    case Kind::kView: {
      const View& view = value.as<View>();
      for (const Entry& entry : view.dict.entries()) {
        if (view.part == View::Part::kKeys)
          out.push_back(entry.first);
        else if (view.part == View::Part::kValues)
          out.push_back(entry.second);
        else
          out.push_back(Value::tuple({entry.first, entry.second}));
      }
      break;
    }
    case Kind::kGenerator: {
      Generator& generator = value.as<Generator>();
      out.assign(generator.items.begin() + static_cast<std::ptrdiff_t>(generator.next),
                 generator.items.end());
      generator.next = generator.items.size();
      break;
    }
    default:
      fail("'{}' object is not iterable", type_name(value));
  }
  reserve(out.size() * sizeof(Value));
  tick(out.size() / 8);
  return out;
}

int64_t Runtime::length(const Value& value) {
  switch (value.kind()) {
    case Kind::kUndefined:
      return 0;
    case Kind::kString:
      tick(value.text().size() / 256);
      return char_count(value.text());
    case Kind::kList:
    case Kind::kTuple:
      return static_cast<int64_t>(value.items().size());
    case Kind::kDict:
      return static_cast<int64_t>(value.entries().size());
    case Kind::kRange:
      return value.as<Range>().size();
    case Kind::kView:
      return static_cast<int64_t>(value.as<View>().dict.entries().size());
    case Kind::kLoop:
      return static_cast<int64_t>(value.as<Loop>().items.size());
    default:
      fail("object of type '{}' has no length", type_name(value));
  }
}

bool Runtime::contains(const Value& container, const Value& item) {
  if (container.is_string()) {
    if (!item.is_string()) {
      require_defined(item);
      fail("'in <text>' requires text on the left side, not {}", type_name(item));
    }
    tick(container.text().size() / 256);
    return container.text().find(item.text()) != std::string::npos;
  }
  if (container.is_dict()) {
    if (!hashable(item)) fail("unhashable type: '{}'", type_name(item));
    return container.find(item) != nullptr;
  }
  if (container.kind() == Kind::kRange && item.is_number()) {
    const Range& range = container.as<Range>();
    double value = item.as_double();
    if (value != std::floor(value) || range.size() == 0) return false;
    int64_t low = std::min(range.at(0), range.at(range.size() - 1)),
            high = std::max(range.at(0), range.at(range.size() - 1));
    if (value < static_cast<double>(low) || value > static_cast<double>(high)) return false;
    return (static_cast<int64_t>(value) - range.start) % range.step == 0;
  }
  if (container.kind() == Kind::kGenerator) {
    Generator& generator = container.as<Generator>();
    while (generator.next < generator.items.size()) {
      tick();
      if (equal(generator.items[generator.next++], item)) return true;
    }
    return false;
  }
  if (container.is_list() || container.is_tuple()) {
    tick(container.items().size());
    return std::any_of(container.items().begin(), container.items().end(),
                       [&](const Value& candidate) { return equal(candidate, item); });
  }
  if (container.kind() != Kind::kUndefined && container.kind() != Kind::kView)
    fail("argument of type '{}' is not iterable", type_name(container));
  Values items = iterate(container);
  return std::any_of(items.begin(), items.end(),
                     [&](const Value& candidate) { return equal(candidate, item); });
}

int Runtime::compare(const Value& a, const Value& b) {
  tick();
  if (a.is_number() && b.is_number()) {
    if (a.is_integral() && b.is_integral()) return a.as_int() < b.as_int() ? -1 : a.as_int() > b.as_int();
    return a.as_double() < b.as_double() ? -1 : a.as_double() > b.as_double();
  }
  if (a.is_string() && b.is_string()) {
    int order = a.text().compare(b.text());  // UTF-8 orders as code points do
    return order < 0 ? -1 : order > 0;
  }
  if (a.kind() == b.kind() && (a.is_list() || a.is_tuple())) {
    const Values &x = a.items(), &y = b.items();
    for (size_t i = 0; i < std::min(x.size(), y.size()); ++i)
      if (!equal(x[i], y[i])) return compare(x[i], y[i]);
    return x.size() < y.size() ? -1 : x.size() > y.size();
  }
  require_defined(a);
  require_defined(b);
  fail("values of type '{}' and '{}' have no order", type_name(a), type_name(b));
}

Value Runtime::apply_filter(std::string_view name, const Value& subject, Arguments& arguments) {
  FilterFunction filter = find_filter(name);
  if (!filter) fail("no filter named '{}'", printable(name, 40));
  return filter(*this, subject, arguments);
}

bool Runtime::apply_test(std::string_view name, const Value& subject, Arguments& arguments) {
  TestFunction test = find_test(name);
  if (!test) fail("no test named '{}'", printable(name, 40));
  return test(*this, subject, arguments);
}

}  // namespace fettle::jinja
