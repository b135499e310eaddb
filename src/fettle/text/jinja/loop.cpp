// The `loop` variable of a for block.
#include "fettle/text/jinja/runtime.h"

namespace fettle::jinja {
namespace {

Value cycle(Runtime&, const Value& self, Arguments& arguments) {
  arguments.refuse_keywords("loop.cycle");
  if (arguments.positional.empty()) fail("loop.cycle needs at least one item");
  return arguments.positional[self.as<Loop>().index % arguments.positional.size()];
}

Value changed(Runtime& runtime, const Value& self, Arguments& arguments) {
  arguments.refuse_keywords("loop.changed");
  Loop& loop = self.as<Loop>();
  bool same = loop.has_changed && equal(Value::tuple(loop.last_changed), Value::tuple(arguments.positional));
  if (same) return Value(false);
  if (!loop.has_changed) runtime.remembering_loops.push_back(std::static_pointer_cast<Loop>(self.shared()));
  loop.has_changed = true;
  loop.last_changed = arguments.positional;
  return Value(true);
}

}  // namespace

MethodFunction find_loop_method(std::string_view name) {
  return name == "cycle" ? cycle : name == "changed" ? changed : nullptr;
}

Value Loop::call(Runtime& runtime, Arguments& arguments) {
  if (!statement) fail("the loop must be marked 'recursive' to be called");
  return runtime.call_loop(*this, *arguments.bind("loop", {"iterable"}, 1)[0]);
}

Value Loop::attribute(std::string_view name) {
  size_t size = items.size();
  if (name == "index") return Value(index + 1);
  if (name == "index0") return Value(index);
  if (name == "revindex") return Value(size - index);
  if (name == "revindex0") return Value(size - index - 1);
  if (name == "first") return Value(index == 0);
  if (name == "last") return Value(index + 1 == size);
  if (name == "length") return Value(size);
  if (name == "depth") return Value(static_cast<int64_t>(nesting) + 1);
  if (name == "depth0") return Value(static_cast<int64_t>(nesting));
  if (name == "previtem") return index > 0 ? items[index - 1] : Value::undefined("there is no previous item");
  if (name == "nextitem")
    return index + 1 < size ? items[index + 1] : Value::undefined("there is no next item");
  return Value::undefined(fmt::format("'loop' has no attribute '{}'", name));
}

}  // namespace fettle::jinja
