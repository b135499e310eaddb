// Arithmetic as Python computes it, on 64-bit integers with every overflow refused.
#include <cmath>

#include "fettle/text/jinja/python_text.h"
#include "fettle/text/jinja/runtime.h"

namespace fettle::jinja {
namespace {

[[noreturn]] void overflow() {
  fail("integer overflow: the result exceeds 64 bits");
}

const char* spelling(Operator op) {
  switch (op) {
    case Operator::kAdd:
      return "+";
    case Operator::kSub:
      return "-";
    case Operator::kMul:
      return "*";
    case Operator::kDiv:
      return "/";
    case Operator::kFloorDiv:
      return "//";
    case Operator::kMod:
      return "%";
    default:
      return "**";
  }
}

int64_t floor_div(int64_t a, int64_t b) {
  if (a == INT64_MIN && b == -1) overflow();
  int64_t q = a / b;
  return a % b != 0 && (a < 0) != (b < 0) ? q - 1 : q;
}

double float_mod(double a, double b) {
  double r = std::fmod(a, b);
  if (r != 0 && (r < 0) != (b < 0)) r += b;
  return r == 0 ? std::copysign(0.0, b) : r;
}

int64_t int_pow(int64_t base, int64_t exponent) {
  int64_t result = 1;
  while (exponent > 0) {
    if (exponent & 1 && __builtin_mul_overflow(result, base, &result)) overflow();
    exponent >>= 1;
    if (exponent && __builtin_mul_overflow(base, base, &base)) overflow();
  }
  return result;
}

Value int_arithmetic(Operator op, int64_t a, int64_t b) {
  int64_t result = 0;
  switch (op) {
    case Operator::kAdd:
      if (__builtin_add_overflow(a, b, &result)) overflow();
      return Value(result);
    case Operator::kSub:
      if (__builtin_sub_overflow(a, b, &result)) overflow();
      return Value(result);
    case Operator::kMul:
      if (__builtin_mul_overflow(a, b, &result)) overflow();
      return Value(result);
    case Operator::kDiv:
      if (b == 0) fail("division by zero");
      return Value(static_cast<double>(a) / static_cast<double>(b));
    case Operator::kFloorDiv:
      if (b == 0) fail("integer division by zero");
      return Value(floor_div(a, b));
    case Operator::kMod:
      if (b == 0) fail("integer modulo by zero");
      return Value(b == -1 ? int64_t{0} : a - floor_div(a, b) * b);
    default:
      if (b >= 0) return Value(int_pow(a, b));
      if (a == 0) fail("0 cannot be raised to a negative power");
      return Value(std::pow(static_cast<double>(a), static_cast<double>(b)));
  }
}

Value float_arithmetic(Operator op, double a, double b) {
  switch (op) {
    case Operator::kAdd:
      return Value(a + b);
    case Operator::kSub:
      return Value(a - b);
    case Operator::kMul:
      return Value(a * b);
    case Operator::kDiv:
      if (b == 0) fail("float division by zero");
      return Value(a / b);
    case Operator::kFloorDiv: {
      if (b == 0) fail("float floor division by zero");
      double quotient = (a - float_mod(a, b)) / b;
      return Value(quotient == 0 ? std::copysign(0.0, a / b) : std::floor(quotient + 0.5));
    }
    case Operator::kMod:
      if (b == 0) fail("float modulo by zero");
      return Value(float_mod(a, b));
    default: {
      if (a == 0 && b < 0) fail("0.0 cannot be raised to a negative power");
      double result = std::pow(a, b);
      if (std::isnan(result) && !std::isnan(a) && !std::isnan(b)) fail("the power is a complex number");
      if (std::isinf(result) && std::isfinite(a) && std::isfinite(b)) fail("the power is too large");
      return Value(result);
    }
  }
}

Value repeat(Runtime& runtime, const Value& sequence, int64_t count) {
  count = std::max<int64_t>(count, 0);
  size_t size = sequence.is_string() ? sequence.text().size() : sequence.items().size() * sizeof(Value);
  if (size && static_cast<uint64_t>(count) > runtime.limits.max_output / size)
    fail("the template makes a text or list above {} bytes", runtime.limits.max_output);
  runtime.reserve(size * static_cast<size_t>(count));
  if (sequence.is_string()) {
    std::string out;
    out.reserve(size * static_cast<size_t>(count));
    for (int64_t i = 0; size && i < count; ++i) out += sequence.text();
    return Value(std::move(out), sequence.is_markup());
  }
  Values out;
  for (int64_t i = 0; size && i < count; ++i)
    out.insert(out.end(), sequence.items().begin(), sequence.items().end());
  return sequence.is_list() ? Value::list(std::move(out)) : Value::tuple(std::move(out));
}

bool is_sequence(const Value& value) {
  return value.is_string() || value.is_list() || value.is_tuple();
}

}  // namespace

Value Runtime::binary(Operator op, const Value& a, const Value& b) {
  require_defined(a);
  if (op == Operator::kMod && a.is_string()) {
    std::string out = percent_format(*this, a.text(), b);
    return text(std::move(out), a.is_markup());
  }
  require_defined(b);
  if (a.is_number() && b.is_number()) {
    if (a.is_integral() && b.is_integral()) return int_arithmetic(op, a.as_int(), b.as_int());
    return float_arithmetic(op, a.as_double(), b.as_double());
  }
  if (op == Operator::kAdd && a.is_string() && b.is_string()) {
    bool markup = a.is_markup() || b.is_markup();
    auto side = [&](const Value& v) { return markup && !v.is_markup() ? escape_html(v.text()) : v.text(); };
    reserve(a.text().size() + b.text().size());
    return Value(side(a) + side(b), markup);
  }
  if (op == Operator::kAdd && a.kind() == b.kind() && (a.is_list() || a.is_tuple())) {
    reserve((a.items().size() + b.items().size()) * sizeof(Value));
    Values out = a.items();
    out.insert(out.end(), b.items().begin(), b.items().end());
    return a.is_list() ? Value::list(std::move(out)) : Value::tuple(std::move(out));
  }
  if (op == Operator::kMul && is_sequence(a) && b.is_integral()) return repeat(*this, a, b.as_int());
  if (op == Operator::kMul && is_sequence(b) && a.is_integral()) return repeat(*this, b, a.as_int());
  fail("unsupported operand types for {}: '{}' and '{}'", spelling(op), type_name(a), type_name(b));
}

Value Runtime::unary(Operator op, const Value& a) {
  require_defined(a);
  if (a.is_float()) return Value(op == Operator::kNeg ? -a.as_double() : a.as_double());
  if (!a.is_integral()) fail("bad operand type for a sign: '{}'", type_name(a));
  if (op == Operator::kPos) return Value(a.as_int());
  if (a.as_int() == INT64_MIN) overflow();
  return Value(-a.as_int());
}

}  // namespace fettle::jinja
