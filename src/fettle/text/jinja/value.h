// Values of the template language: Python's scalars, text and containers as templates see them. Immutable
// (the sandbox of Transformers allows no mutation) but for namespaces, whose attributes `{% set ns.x = … %}`
// changes.
#pragma once
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "fettle/base/json.h"

namespace fettle::jinja {

enum class Kind : uint8_t {
  kUndefined,
  kNone,
  kBool,
  kInt,
  kFloat,
  kString,
  kList,
  kTuple,
  kDict,
  kRange,
  kView,       ///< dict.keys(), dict.values(), dict.items()
  kGenerator,  ///< consumed once: map, select, reject, items, batch, slice, reverse …
  kNamespace,
  kLoop,      ///< the `loop` variable
  kCallable,  ///< macros, bound methods, global functions
};

/// What a value points to. `depth` counts the containers below it and is bounded, so that no recursion over
/// values (printing, comparing, freeing) can exhaust the stack.
struct Object {
  virtual ~Object() = default;
  uint32_t depth = 1;
};

class Value;
using Values = std::vector<Value>;
using Entry = std::pair<Value, Value>;

class Value {
 public:
  Value() = default;  ///< undefined
  Value(std::nullptr_t) : kind_(Kind::kNone) {}
  Value(bool b) : kind_(Kind::kBool) { scalar_.i = b; }
  Value(int64_t i) : kind_(Kind::kInt) { scalar_.i = i; }
  Value(int i) : Value(static_cast<int64_t>(i)) {}
  Value(size_t i) : Value(static_cast<int64_t>(i)) {}
  Value(double d) : kind_(Kind::kFloat) { scalar_.d = d; }
  Value(std::string text, bool markup = false);
  Value(std::string_view text) : Value(std::string(text)) {}
  Value(const char* text) : Value(std::string(text)) {}
  /// Keys keep their order. Error(kBadInput) when nested too deeply or when an integer exceeds 64 bits.
  static Value from_json(const OrderedJson& json);
  static Value list(Values items);
  static Value tuple(Values items);
  /// What groupby yields: a tuple whose items also answer to `grouper` and `list`.
  static Value group(Value key, Value list);
  /// Later entries replace earlier ones of an equal key, in place.
  static Value dict(std::vector<Entry> entries);
  static Value object(Kind kind, std::shared_ptr<Object> object);
  /// An undefined value that explains itself when it is used.
  static Value undefined(std::string reason);

  Kind kind() const { return kind_; }
  bool is_undefined() const { return kind_ == Kind::kUndefined; }
  bool is_none() const { return kind_ == Kind::kNone; }
  bool is_bool() const { return kind_ == Kind::kBool; }
  bool is_int() const { return kind_ == Kind::kInt; }
  bool is_float() const { return kind_ == Kind::kFloat; }
  bool is_string() const { return kind_ == Kind::kString; }
  bool is_list() const { return kind_ == Kind::kList; }
  bool is_tuple() const { return kind_ == Kind::kTuple; }
  bool is_dict() const { return kind_ == Kind::kDict; }
  /// bool and int, which Python takes for integers alike.
  bool is_integral() const { return is_bool() || is_int(); }
  bool is_number() const { return is_integral() || is_float(); }

  bool as_bool() const { return scalar_.i != 0; }
  int64_t as_int() const { return scalar_.i; }  ///< kBool or kInt
  double as_double() const {
    return is_float() ? scalar_.d : static_cast<double>(scalar_.i);
  }                                           ///< any number
  const std::string& text() const;            ///< kString
  bool is_markup() const;                     ///< a string marked safe: `+` escapes the other side
  bool is_group() const;                      ///< made by group()
  const Values& items() const;                ///< kList or kTuple
  const std::vector<Entry>& entries() const;  ///< kDict
  /// The entry of a dict, or null.
  const Value* find(const Value& key) const;
  const Value* find(std::string_view key) const;
  std::string undefined_reason() const;

  template <typename T>
  T& as() const {
    return *static_cast<T*>(object_.get());
  }
  const std::shared_ptr<Object>& shared() const { return object_; }
  uint32_t depth() const { return object_ ? object_->depth : 0; }
  bool same_object(const Value& other) const;

 private:
  Kind kind_ = Kind::kUndefined;
  union {
    int64_t i = 0;
    double d;
  } scalar_;
  std::shared_ptr<Object> object_;
};

/// Containers nested deeper than this are refused.
inline constexpr uint32_t kMaxValueDepth = 512;

/// 1 + the deepest of `items`; throws when the limit is passed.
uint32_t container_depth(const Values& items);

struct Range : Object {
  int64_t start = 0, stop = 0, step = 1;
  int64_t size() const;
  int64_t at(int64_t index) const { return start + index * step; }
};

struct View : Object {
  enum class Part { kKeys, kValues, kItems } part = Part::kKeys;
  Value dict;
};

struct Generator : Object {
  Values items;
  size_t next = 0;
  std::string type = "generator";
};

/// Attributes by name; the only value that a template can change.
struct Namespace : Object {
  std::vector<std::pair<std::string, Value>> attributes;
};

/// Comparisons since the runtime last counted them as steps; it also ends a single endless one.
extern thread_local uint64_t uncounted_comparisons;
constexpr uint64_t kMostComparisons = 10'000'000;
/// Equality and ordering as Python has them (1 == 1.0 == True; a list never equals a tuple).
bool equal(const Value& a, const Value& b);
/// Hash-like check that a value can be a dict key: lists and dicts cannot.
bool hashable(const Value& value);
bool truthy(const Value& value);
/// Python's name of the type, for messages.
std::string type_name(const Value& value);

}  // namespace fettle::jinja
