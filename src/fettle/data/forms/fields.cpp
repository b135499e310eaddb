#include "fettle/data/forms/fields.h"

#include <nlohmann/json.hpp>

#include "fettle/base/error.h"

namespace fettle {

bool has_field(const OrderedJson& row, const std::string& key) {
  if (key.empty()) return false;
  auto found = row.find(key);
  return found != row.end() && !found->is_null();
}

std::string text_field(const OrderedJson& row, const std::string& key) {
  if (!has_field(row, key)) return "";
  const OrderedJson& value = row[key];
  if (!value.is_string())
    throw BadRow{fmt::format("\"{}\" is {}, expected text", printable(key), value.type_name())};
  return value.get<std::string>();
}

std::string required_text_field(const OrderedJson& row, const std::string& key) {
  if (!has_field(row, key)) throw BadRow{fmt::format("\"{}\" is missing", printable(key))};
  return text_field(row, key);
}

const OrderedJson& required_list_field(const OrderedJson& row, const std::string& key) {
  if (!has_field(row, key)) throw BadRow{fmt::format("\"{}\" is missing", printable(key))};
  if (!row[key].is_array())
    throw BadRow{fmt::format("\"{}\" is {}, expected a list", printable(key), row[key].type_name())};
  return row[key];
}

std::string tools_field(const OrderedJson& row, const std::string& key) {
  if (!has_field(row, key)) return "";
  const OrderedJson& value = row[key];
  if (value.is_string()) return value.get<std::string>();
  if (value.is_object()) return OrderedJson::array({value}).dump();
  if (value.is_array()) return value.empty() ? "" : value.dump();
  throw BadRow{fmt::format("\"{}\" is {}, expected a list of tools", printable(key), value.type_name())};
}

bool trained_field(const OrderedJson& message) {
  for (const char* key : {"loss", "weight", "loss_weight"}) {
    if (!has_field(message, key)) continue;
    const OrderedJson& value = message[key];
    if (value.is_boolean()) return value.get<bool>();
    if (value.is_number() && (value.get<double>() == 0 || value.get<double>() == 1))
      return value.get<double>() == 1;
    throw BadRow{
        fmt::format("\"{}\" is {}; a turn is trained (1) or not (0)", key, printable(value.dump(), 30))};
  }
  return true;
}

std::string with_thought(const std::string& thought, const std::string& answer) {
  return thought.empty() ? answer : "<think>\n" + thought + "\n</think>\n\n" + answer;
}

std::string turns_key(const DatasetEntry& entry, const OrderedJson& row) {
  std::string named = entry.column("messages");
  if (has_field(row, named)) return named;
  for (const char* key : {"messages", "conversations", "conversation"})
    if (has_field(row, key)) return key;
  return named.empty() ? "messages" : named;
}

}  // namespace fettle
