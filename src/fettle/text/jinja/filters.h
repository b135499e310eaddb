// The tables of filters, one for each file that defines some, and what all of them need.
#pragma once
#include <span>
#include <string>
#include <string_view>

#include "fettle/text/jinja/python_text.h"
#include "fettle/text/jinja/runtime.h"

namespace fettle::jinja {

struct Filter {
  std::string_view name;
  FilterFunction function;
};
/// Sorted by name.
std::span<const Filter> text_filters();
std::span<const Filter> item_filters();

inline Value none_if_absent(const Value* value) {
  return value ? *value : Value(nullptr);
}
inline bool flag(const Value* value, bool fallback) {
  return value ? truthy(*value) : fallback;
}
/// Text of any value, still marked safe when it was.
inline Value soft_text(Runtime& runtime, const Value& value) {
  return value.is_string() ? value : runtime.text(str(value));
}

}  // namespace fettle::jinja
