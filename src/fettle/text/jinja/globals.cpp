// The functions that a template finds without being given them.
#include <ctime>

#include "fettle/base/error.h"
#include "fettle/text/jinja/python_text.h"
#include "fettle/text/jinja/runtime.h"

namespace fettle::jinja {
namespace {

constexpr int64_t kMaxRange = 100'000;  // as the sandbox of Jinja2

Value make_range(Runtime&, Arguments& arguments) {
  arguments.refuse_keywords("range");
  size_t count = arguments.positional.size();
  if (count < 1 || count > 3) fail("range() takes one to three arguments, got {}", count);
  int64_t numbers[3] = {0, 0, 1};
  for (size_t i = 0; i < count; ++i)
    numbers[count == 1 ? 1 : i] = to_int(arguments.positional[i], "range's argument");
  auto range = std::make_shared<Range>();
  range->start = numbers[0], range->stop = numbers[1], range->step = numbers[2];
  if (range->step == 0) fail("range()'s step must not be zero");
  if (range->size() > kMaxRange)
    fail("range() of {} items is too long (at most {})", range->size(), kMaxRange);
  return Value::object(Kind::kRange, std::move(range));
}

/// Entries of dict(mapping_or_pairs, **keywords).
std::vector<Entry> dict_entries(Runtime& runtime, Arguments& arguments, const char* function) {
  if (arguments.positional.size() > 1) fail("{}() takes at most one positional argument", function);
  std::vector<Entry> entries;
  if (!arguments.positional.empty()) {
    const Value& source = arguments.positional[0];
    require_defined(source);
    if (source.is_dict()) {
      entries = source.entries();
    } else {
      for (const Value& pair : runtime.iterate(source)) {
        Values both = runtime.iterate(pair);
        if (both.size() != 2) fail("{}() needs pairs of key and value", function);
        if (!hashable(both[0])) fail("unhashable type: '{}'", type_name(both[0]));
        entries.emplace_back(both[0], both[1]);
      }
    }
  }
  for (const auto& [name, value] : arguments.keywords) entries.emplace_back(Value(name), value);
  runtime.reserve(entries.size() * sizeof(Entry));
  return entries;
}

Value make_dict(Runtime& runtime, Arguments& arguments) {
  return Value::dict(dict_entries(runtime, arguments, "dict"));
}

Value make_namespace(Runtime& runtime, Arguments& arguments) {
  auto space = std::make_shared<Namespace>();
  Value merged = Value::dict(dict_entries(runtime, arguments, "namespace"));
  for (const Entry& entry : merged.entries()) {
    const std::string& name = to_text(entry.first, "a namespace's name");
    if (name.starts_with('_')) fail("a namespace cannot hold the underscore name '{}'", printable(name, 40));
    space->attributes.emplace_back(name, entry.second);
  }
  runtime.tick(8);
  runtime.namespaces.push_back(space);
  return Value::object(Kind::kNamespace, std::move(space));
}

Value raise_exception(Runtime&, Arguments& arguments) {
  Value message = *arguments.bind("raise_exception", {"message"}, 1)[0];
  fail("the template refuses this conversation: {}", printable(str(message), 500));
}

std::tm now(const Runtime& runtime) {
  if (runtime.options.clock) return runtime.options.clock();
  std::time_t seconds = std::time(nullptr);
  std::tm out{};
  localtime_r(&seconds, &out);
  return out;
}

Value strftime_now(Runtime& runtime, Arguments& arguments) {
  const std::string& format =
      to_text(*arguments.bind("strftime_now", {"format"}, 1)[0], "strftime_now's format");
  if (format.size() > 1000) fail("the time format is too long");
  // A naive local time: no zone, no fraction. Everything but plain conversions is passed through untouched.
  std::string plain;
  for (size_t i = 0; i < format.size(); ++i) {
    if (format[i] != '%') {
      plain += format[i] == '\0' ? ' ' : format[i];
      continue;
    }
    if (i + 1 == format.size()) {
      plain += "%%";
      break;
    }
    char kind = format[++i];
    if (kind == 'f') {
      plain += "000000";
    } else if (kind != 'z' && kind != 'Z') {
      bool padded = (kind == '-' || kind == '_' || kind == '^' || kind == '#') && i + 1 < format.size();
      char letter = padded ? format[i + 1] : kind;
      if (!((letter >= 'a' && letter <= 'z') || (letter >= 'A' && letter <= 'Z') || letter == '%'))
        fail("unknown conversion '%{}' in a time format", printable(std::string(1, letter)));
      plain += '%';
      plain += kind;
      if (padded) plain += format[++i];
    }
  }
  if (plain.empty()) return Value("");
  std::tm time = now(runtime);
  char buffer[16384];
  size_t size = std::strftime(buffer, sizeof buffer, plain.c_str(), &time);
  return runtime.text(std::string(buffer, size));
}

/// cycler(a, b, …): next(), current, reset().
struct Cycler : Callable {
  Values items;
  size_t index = 0;
  Value call(Runtime&, Arguments&) override { fail("a cycler cannot be called; use next()"); }
  Value attribute(std::string_view name) override {
    return name == "current" ? items[index] : Callable::attribute(name);
  }
};
Value cycler_next(Runtime&, const Value& self, Arguments& arguments) {
  arguments.bind("next", {});
  Cycler& cycler = self.as<Cycler>();
  Value out = cycler.items[cycler.index];
  cycler.index = (cycler.index + 1) % cycler.items.size();
  return out;
}
Value cycler_reset(Runtime&, const Value& self, Arguments& arguments) {
  arguments.bind("reset", {});
  self.as<Cycler>().index = 0;
  return Value(nullptr);
}
Value make_cycler(Runtime&, Arguments& arguments) {
  arguments.refuse_keywords("cycler");
  if (arguments.positional.empty()) fail("at least one item has to be provided");
  auto cycler = std::make_shared<Cycler>();
  cycler->depth = container_depth(arguments.positional);
  cycler->items = arguments.positional;
  return Value::object(Kind::kCallable, std::move(cycler));
}

/// joiner(sep): "" the first time, then the separator.
struct Joiner : Callable {
  Value separator;
  bool used = false;
  Value call(Runtime&, Arguments& arguments) override {
    arguments.bind("joiner", {});
    return std::exchange(used, true) ? separator : Value("");
  }
};
Value make_joiner(Runtime&, Arguments& arguments) {
  std::vector<const Value*> given = arguments.bind("joiner", {"sep"});
  auto joiner = std::make_shared<Joiner>();
  joiner->separator = given[0] ? *given[0] : Value(", ");
  joiner->depth = joiner->separator.depth() + 1;
  if (joiner->depth > kMaxValueDepth) fail("values are nested deeper than {} levels", kMaxValueDepth);
  return Value::object(Kind::kCallable, std::move(joiner));
}

}  // namespace

MethodFunction find_cycler_method(const Value& self, std::string_view name) {
  if (!dynamic_cast<Cycler*>(self.shared().get())) return nullptr;
  return name == "next" ? cycler_next : name == "reset" ? cycler_reset : nullptr;
}

Value find_global(std::string_view name) {
  static constexpr std::pair<std::string_view, GlobalFunction> kGlobals[] = {
      {"range", make_range},          {"dict", make_dict},
      {"namespace", make_namespace},  {"raise_exception", raise_exception},
      {"strftime_now", strftime_now}, {"cycler", make_cycler},
      {"joiner", make_joiner},
  };
  for (const auto& [known, function] : kGlobals)
    if (known == name) return Value::object(Kind::kCallable, std::make_shared<Native>(function));
  return Value();
}

}  // namespace fettle::jinja
