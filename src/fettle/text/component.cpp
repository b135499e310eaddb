#include "fettle/text/component.h"

#include "fettle/base/error.h"

namespace fettle {

std::string type_of(const Json& json, const std::string& origin, const char* stage) {
  if (!json.is_object() || !json.contains("type") || !json["type"].is_string())
    fail_input("{}: {} has no type", origin, stage);
  return json["type"].get<std::string>();
}

std::string text_field(const Json& json, const char* key, const std::string& origin) {
  if (!json.contains(key) || !json[key].is_string())
    fail_input("{}: {} has no text \"{}\"", origin, printable(type_of(json, origin, "a component")), key);
  return json[key].get<std::string>();
}

bool flag_field(const Json& json, const char* key, bool fallback, const std::string& origin) {
  if (!json.contains(key) || json[key].is_null()) return fallback;
  if (!json[key].is_boolean())
    fail_input("{}: {} is {}, expected true or false", origin, key, printable(json[key].dump(), 40));
  return json[key].get<bool>();
}

const Json& list_field(const Json& json, const char* key, const std::string& origin) {
  if (!json.contains(key) || !json[key].is_array())
    fail_input("{}: Sequence has no list \"{}\"", origin, key);
  return json[key];
}

int64_t count_field(const Json& json, const char* key, int64_t fallback, const std::string& origin) {
  if (!json.contains(key) || json[key].is_null()) return fallback;
  const Json& value = json[key];
  if (!value.is_number_integer() || value.get<double>() < 0 || value.get<double>() > INT32_MAX)
    fail_input("{}: {} is {}, expected a count", origin, key, printable(value.dump(), 40));
  return value.get<int64_t>();
}

std::string prepend_scheme(const Json& json, const std::string& origin) {
  std::string scheme = "always";
  if (json.contains("prepend_scheme") && !json["prepend_scheme"].is_null())
    scheme = text_field(json, "prepend_scheme", origin);
  if (!flag_field(json, "add_prefix_space", true, origin)) scheme = "never";
  if (scheme != "always" && scheme != "first" && scheme != "never")
    fail_input("{}: prepend_scheme is \"{}\", expected always, first or never", origin, printable(scheme));
  return scheme;
}

TokenId id_value(const Json& value, const std::string& what, const std::string& origin) {
  if (!value.is_number_integer() || value.get<double>() < 0 || value.get<double>() > (1 << 28))
    fail_input("{}: {} is {}, expected an id", origin, what, printable(value.dump(), 40));
  return value.get<TokenId>();
}

}  // namespace fettle
