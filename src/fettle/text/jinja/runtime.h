// One rendering in progress: its limits, and the operations that filters, tests, methods and the interpreter
// share.
#pragma once
#include <functional>
#include <initializer_list>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "fettle/text/jinja/failure.h"
#include "fettle/text/jinja/jinja.h"
#include "fettle/text/jinja/syntax.h"

namespace fettle::jinja {

/// Arguments of a call, unpacked.
struct Arguments {
  Values positional;
  std::vector<std::pair<std::string, Value>> keywords;

  /// One pointer for each name of the signature, null where the caller gave nothing. Fails as Python does on
  /// too many arguments, unknown names and missing ones (the first `required` must be there).
  std::vector<const Value*> bind(std::string_view function, std::initializer_list<const char*> names,
                                 size_t required = 0) const;
  void refuse_keywords(std::string_view function) const;
};

/// A value that can be called.
struct Callable : Object {
  virtual Value call(Runtime& runtime, Arguments& arguments) = 0;
  virtual Value attribute(std::string_view name) {
    return Value::undefined(fmt::format("a function has no attribute '{}'", name));
  }
};

using MethodFunction = Value (*)(Runtime&, const Value& self, Arguments&);
using GlobalFunction = Value (*)(Runtime&, Arguments&);

struct BoundMethod : Callable {
  BoundMethod(Value self, MethodFunction function) : self(std::move(self)), function(function) {
    depth = this->self.depth() + 1;
  }
  Value call(Runtime& runtime, Arguments& arguments) override;
  Value self;
  MethodFunction function;
};

struct Native : Callable {
  explicit Native(GlobalFunction function) : function(function) {}
  Value call(Runtime& runtime, Arguments& arguments) override { return function(runtime, arguments); }
  GlobalFunction function;
};

struct Scope;

/// The `loop` variable.
struct Loop : Callable {
  Values items;
  size_t index = 0;
  uint32_t nesting = 0;  ///< depth0
  std::vector<Value> last_changed;
  bool has_changed = false;
  const Stmt* statement = nullptr;  ///< set for recursive loops
  std::shared_ptr<Scope> scope;     ///< the scope around a recursive loop

  Value call(Runtime& runtime, Arguments& arguments) override;
  Value attribute(std::string_view name) override;
};

struct Runtime {
  const Limits& limits;
  const RenderOptions& options;
  uint64_t steps = 0;
  size_t memory = 0;
  uint32_t call_depth = 0;
  uint32_t eval_depth = 0;
  Position at;  ///< of the node that runs, for messages
  /// Objects that may take part in reference cycles; they are emptied when the rendering ends.
  std::vector<std::shared_ptr<Namespace>> namespaces;
  std::vector<std::shared_ptr<Scope>> captured;
  std::vector<std::shared_ptr<Loop>> remembering_loops;

  Runtime(const Limits& limits, const RenderOptions& options) : limits(limits), options(options) {}
  virtual ~Runtime() = default;
  Runtime(const Runtime&) = delete;
  Runtime& operator=(const Runtime&) = delete;

  void tick(uint64_t count = 1) {
    steps += count + std::exchange(uncounted_comparisons, 0) / 4;
    if (steps > limits.max_steps) fail("the template needs more than {} steps", limits.max_steps);
  }
  /// Refuses a text or list of `bytes` before it is made.
  void reserve(size_t bytes);
  Value text(std::string text, bool markup = false);
  Value list(Values items);
  Value generator(Values items, const char* type = "generator");

  /// a.name and a[key] as the sandbox of Jinja2 looks them up.
  Value attribute(const Value& object, std::string_view name);
  Value item(const Value& object, const Value& key);
  Value slice(const Value& object, const Value& start, const Value& stop, const Value& step);
  Value call(const Value& callee, Arguments& arguments);
  virtual Value call_loop(Loop& loop, const Value& items) = 0;

  /// All items; fails when `value` cannot be iterated. Generators are used up.
  Values iterate(const Value& value);
  int64_t length(const Value& value);
  bool contains(const Value& container, const Value& item);
  /// Negative, zero, positive; fails on kinds that Python does not order.
  int compare(const Value& a, const Value& b);
  Value binary(Operator op, const Value& a, const Value& b);
  Value unary(Operator op, const Value& a);

  Value apply_filter(std::string_view name, const Value& subject, Arguments& arguments);
  bool apply_test(std::string_view name, const Value& subject, Arguments& arguments);
};

/// Fails when `value` is undefined, with its reason.
void require_defined(const Value& value);
/// An int (or bool) argument; fails with `what` otherwise.
int64_t to_int(const Value& value, std::string_view what);
const std::string& to_text(const Value& value, std::string_view what);
/// Clamps a Python slice to a sequence of `size`: the positions taken, in order.
struct SliceRange {
  int64_t start, stop, step, count;
};
SliceRange resolve_slice(const Value& start, const Value& stop, const Value& step, int64_t size);

/// The method of a built-in type, or null; `mutates` is set when it exists but would change the object.
MethodFunction find_method(const Value& self, std::string_view name, bool& mutates);
/// Methods of the `loop` variable, or null.
MethodFunction find_loop_method(std::string_view name);
MethodFunction find_cycler_method(const Value& self, std::string_view name);
/// `range`, `namespace`, `dict`, `raise_exception` …; undefined when there is none.
Value find_global(std::string_view name);

/// str.replace; a negative count replaces all.
std::string replace_text(Runtime& runtime, const std::string& text, const std::string& old,
                         const std::string& fresh, int64_t count);
/// Pads to `width` characters: side -1 on the right, 1 on the left, 0 on both.
std::string pad_text(Runtime& runtime, std::string_view text, int64_t width, std::string_view fill, int side);
/// str.isupper / str.islower.
bool has_case(std::string_view text, bool upper);

/// json.dumps(value, ensure_ascii=…, indent=…, separators=…, sort_keys=…).
struct JsonStyle {
  bool ensure_ascii = false, sort_keys = false;
  bool pretty = false;
  std::string indent;
  std::string item_separator = ", ", key_separator = ": ";
};
std::string json_text(Runtime& runtime, const Value& value, const JsonStyle& style);

/// `format % values`, and str.format.
std::string percent_format(Runtime& runtime, const std::string& format, const Value& values);
std::string brace_format(Runtime& runtime, const std::string& format, const Arguments& arguments);

}  // namespace fettle::jinja
