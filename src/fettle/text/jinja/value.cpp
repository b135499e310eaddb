#include "fettle/text/jinja/value.h"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <cmath>
#include <unordered_map>

#include "fettle/base/error.h"
#include "fettle/text/jinja/failure.h"

namespace fettle::jinja {
namespace {

struct StringObject : Object {
  std::string text;
  bool markup = false;
};
struct SequenceObject : Object {
  Values items;
  bool is_group = false;
};
struct DictObject : Object {
  std::vector<Entry> entries;
  std::unordered_map<std::string_view, size_t> index;  // filled for large dicts with text keys
};
struct UndefinedObject : Object {
  std::string reason;
};
constexpr size_t kIndexAbove = 12;

std::shared_ptr<SequenceObject> make_sequence(Values items) {
  auto object = std::make_shared<SequenceObject>();
  object->depth = container_depth(items);
  object->items = std::move(items);
  return object;
}

std::shared_ptr<DictObject> make_dict(std::vector<Entry> entries) {
  auto object = std::make_shared<DictObject>();
  uint32_t depth = 0;
  for (const Entry& entry : entries) depth = std::max({depth, entry.first.depth(), entry.second.depth()});
  if (depth >= kMaxValueDepth) fail("values are nested deeper than {} levels", kMaxValueDepth);
  object->depth = depth + 1;
  object->entries = std::move(entries);
  if (object->entries.size() > kIndexAbove)
    for (size_t i = 0; i < object->entries.size(); ++i)
      if (object->entries[i].first.is_string()) object->index.emplace(object->entries[i].first.text(), i);
  return object;
}

Value convert(const OrderedJson& json, uint32_t depth) {
  if (depth > kMaxValueDepth)
    fail_input("a template's input is nested deeper than {} levels", kMaxValueDepth);
  switch (json.type()) {
    case OrderedJson::value_t::boolean:
      return Value(json.get<bool>());
    case OrderedJson::value_t::number_integer:
      return Value(json.get<int64_t>());
    case OrderedJson::value_t::number_unsigned: {
      uint64_t number = json.get<uint64_t>();
      if (number > static_cast<uint64_t>(INT64_MAX))
        fail_input("a template's input holds the integer {}, above 64-bit range; write it as text", number);
      return Value(static_cast<int64_t>(number));
    }
    case OrderedJson::value_t::number_float:
      return Value(json.get<double>());
    case OrderedJson::value_t::string:
      return Value(json.get_ref<const std::string&>());
    case OrderedJson::value_t::array: {
      Values items;
      items.reserve(json.size());
      for (const OrderedJson& item : json) items.push_back(convert(item, depth + 1));
      return Value::object(Kind::kList, make_sequence(std::move(items)));
    }
    case OrderedJson::value_t::object: {
      std::vector<Entry> entries;
      entries.reserve(json.size());
      for (const auto& [key, value] : json.items())
        entries.emplace_back(Value(key), convert(value, depth + 1));
      return Value::object(Kind::kDict, make_dict(std::move(entries)));
    }
    default:
      return Value(nullptr);
  }
}

}  // namespace

uint32_t container_depth(const Values& items) {
  uint32_t depth = 0;
  for (const Value& item : items) depth = std::max(depth, item.depth());
  if (depth >= kMaxValueDepth) fail("values are nested deeper than {} levels", kMaxValueDepth);
  return depth + 1;
}

Value::Value(std::string text, bool markup) : kind_(Kind::kString) {
  auto object = std::make_shared<StringObject>();
  object->depth = 0;
  object->text = std::move(text);
  object->markup = markup;
  object_ = std::move(object);
}
Value Value::from_json(const OrderedJson& json) {
  return convert(json, 1);
}
Value Value::list(Values items) {
  return object(Kind::kList, make_sequence(std::move(items)));
}
Value Value::tuple(Values items) {
  return object(Kind::kTuple, make_sequence(std::move(items)));
}
Value Value::group(Value key, Value list) {
  auto object = make_sequence({std::move(key), std::move(list)});
  object->is_group = true;
  return Value::object(Kind::kTuple, std::move(object));
}
Value Value::dict(std::vector<Entry> entries) {
  std::vector<Entry> unique;
  unique.reserve(entries.size());
  std::unordered_map<std::string_view, size_t> seen;
  for (Entry& entry : entries) {
    Entry* old = nullptr;
    if (entry.first.is_string()) {
      auto it = seen.find(entry.first.text());
      if (it != seen.end()) old = &unique[it->second];
    } else {
      for (Entry& candidate : unique)
        if (equal(candidate.first, entry.first)) old = &candidate;
    }
    if (old) {
      old->second = std::move(entry.second);
    } else {
      unique.push_back(std::move(entry));
      if (unique.back().first.is_string()) seen.emplace(unique.back().first.text(), unique.size() - 1);
    }
  }
  return object(Kind::kDict, make_dict(std::move(unique)));
}
Value Value::object(Kind kind, std::shared_ptr<Object> object) {
  Value value;
  value.kind_ = kind;
  value.object_ = std::move(object);
  return value;
}
Value Value::undefined(std::string reason) {
  auto object = std::make_shared<UndefinedObject>();
  object->depth = 0;
  object->reason = std::move(reason);
  return Value::object(Kind::kUndefined, std::move(object));
}

const std::string& Value::text() const {
  return as<StringObject>().text;
}
bool Value::is_markup() const {
  return is_string() && as<StringObject>().markup;
}
bool Value::is_group() const {
  return is_tuple() && as<SequenceObject>().is_group;
}
const Values& Value::items() const {
  return as<SequenceObject>().items;
}
const std::vector<Entry>& Value::entries() const {
  return as<DictObject>().entries;
}
std::string Value::undefined_reason() const {
  return object_ ? as<UndefinedObject>().reason : std::string("value is undefined");
}

const Value* Value::find(std::string_view key) const {
  const DictObject& dict = as<DictObject>();
  if (!dict.index.empty()) {
    auto it = dict.index.find(key);
    return it == dict.index.end() ? nullptr : &dict.entries[it->second].second;
  }
  for (const Entry& entry : dict.entries)
    if (entry.first.is_string() && entry.first.text() == key) return &entry.second;
  return nullptr;
}
const Value* Value::find(const Value& key) const {
  if (key.is_string()) return find(std::string_view(key.text()));
  for (const Entry& entry : entries())
    if (equal(entry.first, key)) return &entry.second;
  return nullptr;
}

bool Value::same_object(const Value& other) const {
  if (kind_ != other.kind_) return false;
  if (object_ || other.object_)
    return object_ == other.object_ || (is_string() && other.is_string() && text() == other.text());
  return is_float() ? scalar_.d == other.scalar_.d : scalar_.i == other.scalar_.i;
}

int64_t Range::size() const {
  // Widened: stop - start may exceed 64 bits.
  __extension__ typedef __int128 Wide;
  Wide span = step > 0 ? Wide(stop) - start : Wide(start) - stop;
  Wide stride = step > 0 ? Wide(step) : -Wide(step);
  if (span <= 0) return 0;
  Wide count = (span + stride - 1) / stride;
  return count > INT64_MAX ? INT64_MAX : static_cast<int64_t>(count);
}

thread_local uint64_t uncounted_comparisons = 0;

bool equal(const Value& a, const Value& b) {
  if (++uncounted_comparisons > kMostComparisons)
    fail("the template compares more than {} values", kMostComparisons);
  if (a.is_number() && b.is_number()) {
    if (a.is_integral() && b.is_integral()) return a.as_int() == b.as_int();
    return a.as_double() == b.as_double();
  }
  if (a.kind() != b.kind()) return false;
  switch (a.kind()) {
    case Kind::kUndefined:
    case Kind::kNone:
      return true;
    case Kind::kString:
      uncounted_comparisons += a.text().size() / 256;
      return a.text() == b.text();
    case Kind::kList:
    case Kind::kTuple:
      return a.shared() == b.shared() ||
             std::equal(a.items().begin(), a.items().end(), b.items().begin(), b.items().end(), equal);
    case Kind::kDict: {
      if (a.shared() == b.shared()) return true;
      if (a.entries().size() != b.entries().size()) return false;
      for (const Entry& entry : a.entries()) {
        const Value* other = b.find(entry.first);
        if (!other || !equal(entry.second, *other)) return false;
      }
      return true;
    }
    case Kind::kRange: {
      const Range &x = a.as<Range>(), &y = b.as<Range>();
      return x.size() == y.size() &&
             (x.size() == 0 || (x.start == y.start && (x.size() == 1 || x.step == y.step)));
    }
    default:
      return a.shared() == b.shared();
  }
}

bool hashable(const Value& value) {
  switch (value.kind()) {
    case Kind::kList:
    case Kind::kDict:
    case Kind::kView:
      return false;
    case Kind::kTuple:
      return std::all_of(value.items().begin(), value.items().end(), hashable);
    default:
      return true;
  }
}

bool truthy(const Value& value) {
  switch (value.kind()) {
    case Kind::kUndefined:
    case Kind::kNone:
      return false;
    case Kind::kBool:
    case Kind::kInt:
      return value.as_int() != 0;
    case Kind::kFloat:
      return value.as_double() != 0;
    case Kind::kString:
      return !value.text().empty();
    case Kind::kList:
    case Kind::kTuple:
      return !value.items().empty();
    case Kind::kDict:
      return !value.entries().empty();
    case Kind::kRange:
      return value.as<Range>().size() != 0;
    case Kind::kView:
      return !value.as<View>().dict.entries().empty();
    default:
      return true;
  }
}

std::string type_name(const Value& value) {
  switch (value.kind()) {
    case Kind::kUndefined:
      return "Undefined";
    case Kind::kNone:
      return "NoneType";
    case Kind::kBool:
      return "bool";
    case Kind::kInt:
      return "int";
    case Kind::kFloat:
      return "float";
    case Kind::kString:
      return value.is_markup() ? "Markup" : "str";
    case Kind::kList:
      return "list";
    case Kind::kTuple:
      return "tuple";
    case Kind::kDict:
      return "dict";
    case Kind::kRange:
      return "range";
    case Kind::kView: {
      View::Part part = value.as<View>().part;
      return part == View::Part::kKeys     ? "dict_keys"
             : part == View::Part::kValues ? "dict_values"
                                           : "dict_items";
    }
    case Kind::kGenerator:
      return value.as<Generator>().type;
    case Kind::kNamespace:
      return "Namespace";
    case Kind::kLoop:
      return "LoopContext";
    case Kind::kCallable:
      return "function";
  }
  return "object";
}

}  // namespace fettle::jinja
