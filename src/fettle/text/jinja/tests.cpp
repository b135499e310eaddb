// What may follow `is`.
#include <algorithm>
#include <iterator>

#include "fettle/text/jinja/python_text.h"
#include "fettle/text/jinja/runtime.h"

namespace fettle::jinja {
namespace {

const Value& other(Arguments& arguments, const char* name) {
  return *arguments.bind(name, {"other"}, 1)[0];
}

template <bool (*F)(const Value&)>
bool about(Runtime&, const Value& subject, Arguments& arguments) {
  arguments.bind("test", {});
  return F(subject);
}

bool is_defined(const Value& v) {
  return !v.is_undefined();
}
bool is_undefined(const Value& v) {
  return v.is_undefined();
}
bool is_none(const Value& v) {
  return v.is_none();
}
bool is_boolean(const Value& v) {
  return v.is_bool();
}
bool is_true(const Value& v) {
  return v.is_bool() && v.as_bool();
}
bool is_false(const Value& v) {
  return v.is_bool() && !v.as_bool();
}
bool is_integer(const Value& v) {
  return v.is_int();
}
bool is_float(const Value& v) {
  return v.is_float();
}
bool is_number(const Value& v) {
  return v.is_number();
}
bool is_string(const Value& v) {
  return v.is_string();
}
bool is_mapping(const Value& v) {
  return v.is_dict();
}
bool is_escaped(const Value& v) {
  return v.is_markup();
}
// An undefined value answers to every protocol: it can be counted, iterated and (to fail) called.
bool is_sequence(const Value& v) {
  return v.is_undefined() || v.is_string() || v.is_list() || v.is_tuple() || v.is_dict() ||
         v.kind() == Kind::kRange;
}
bool is_iterable(const Value& v) {
  return is_sequence(v) || v.kind() == Kind::kView || v.kind() == Kind::kGenerator || v.kind() == Kind::kLoop;
}
bool is_callable(const Value& v) {
  return v.is_undefined() || v.kind() == Kind::kCallable || v.kind() == Kind::kLoop;
}
bool is_lower_text(const Value& v) {
  return has_case(str(v), false);
}
bool is_upper_text(const Value& v) {
  return has_case(str(v), true);
}

bool remainder_is(Runtime& runtime, const Value& subject, const Value& divisor, int64_t wanted) {
  return equal(runtime.binary(Operator::kMod, subject, divisor), Value(wanted));
}
bool is_even(Runtime& runtime, const Value& subject, Arguments& arguments) {
  arguments.bind("even", {});
  return remainder_is(runtime, subject, Value(2), 0);
}
bool is_odd(Runtime& runtime, const Value& subject, Arguments& arguments) {
  arguments.bind("odd", {});
  return remainder_is(runtime, subject, Value(2), 1);
}
bool is_divisible(Runtime& runtime, const Value& subject, Arguments& arguments) {
  return remainder_is(runtime, subject, *arguments.bind("divisibleby", {"num"}, 1)[0], 0);
}

bool is_equal(Runtime&, const Value& subject, Arguments& arguments) {
  return equal(subject, other(arguments, "eq"));
}
bool is_unequal(Runtime&, const Value& subject, Arguments& arguments) {
  return !equal(subject, other(arguments, "ne"));
}
bool is_less(Runtime& runtime, const Value& subject, Arguments& arguments) {
  return runtime.compare(subject, other(arguments, "lt")) < 0;
}
bool is_at_most(Runtime& runtime, const Value& subject, Arguments& arguments) {
  return runtime.compare(subject, other(arguments, "le")) <= 0;
}
bool is_greater(Runtime& runtime, const Value& subject, Arguments& arguments) {
  return runtime.compare(subject, other(arguments, "gt")) > 0;
}
bool is_at_least(Runtime& runtime, const Value& subject, Arguments& arguments) {
  return runtime.compare(subject, other(arguments, "ge")) >= 0;
}
bool is_in(Runtime& runtime, const Value& subject, Arguments& arguments) {
  return runtime.contains(*arguments.bind("in", {"seq"}, 1)[0], subject);
}
bool is_same(Runtime&, const Value& subject, Arguments& arguments) {
  return subject.same_object(other(arguments, "sameas"));
}
bool is_filter(Runtime&, const Value& subject, Arguments& arguments) {
  arguments.bind("filter", {});
  return subject.is_string() && find_filter(subject.text()) != nullptr;
}
bool is_test(Runtime&, const Value& subject, Arguments& arguments) {
  arguments.bind("test", {});
  return subject.is_string() && find_test(subject.text()) != nullptr;
}

struct Test {
  std::string_view name;
  TestFunction function;
};

constexpr Test kTests[] = {
    {"!=", is_unequal},
    {"<", is_less},
    {"<=", is_at_most},
    {"==", is_equal},
    {">", is_greater},
    {">=", is_at_least},
    {"boolean", about<is_boolean>},
    {"callable", about<is_callable>},
    {"defined", about<is_defined>},
    {"divisibleby", is_divisible},
    {"eq", is_equal},
    {"equalto", is_equal},
    {"escaped", about<is_escaped>},
    {"even", is_even},
    {"false", about<is_false>},
    {"filter", is_filter},
    {"float", about<is_float>},
    {"ge", is_at_least},
    {"greaterthan", is_greater},
    {"gt", is_greater},
    {"in", is_in},
    {"integer", about<is_integer>},
    {"iterable", about<is_iterable>},
    {"le", is_at_most},
    {"lessthan", is_less},
    {"lower", about<is_lower_text>},
    {"lt", is_less},
    {"mapping", about<is_mapping>},
    {"ne", is_unequal},
    {"none", about<is_none>},
    {"number", about<is_number>},
    {"odd", is_odd},
    {"sameas", is_same},
    {"sequence", about<is_sequence>},
    {"string", about<is_string>},
    {"test", is_test},
    {"true", about<is_true>},
    {"undefined", about<is_undefined>},
    {"upper", about<is_upper_text>},
};

}  // namespace

TestFunction find_test(std::string_view name) {
  auto it = std::lower_bound(std::begin(kTests), std::end(kTests), name,
                             [](const Test& test, std::string_view wanted) { return test.name < wanted; });
  return it != std::end(kTests) && it->name == name ? it->function : nullptr;
}

}  // namespace fettle::jinja
