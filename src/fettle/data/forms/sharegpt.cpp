// ShareGPT: turns of {from, value}; tool calls are turns of their own.
#include <nlohmann/json.hpp>

#include "fettle/base/error.h"
#include "fettle/data/forms/fields.h"

namespace fettle {

Conversation from_sharegpt(const DatasetEntry& entry, const OrderedJson& row) {
  const auto& tags = entry.tags;
  Conversation c;
  c.system = text_field(row, entry.column("system"));
  c.tools = tools_field(row, entry.column("tools"));
  bool first = true;
  for (const OrderedJson& message : required_list_field(row, turns_key(entry, row))) {
    if (!message.is_object()) throw BadRow{"a message is not an object"};
    std::string role = required_text_field(message, tags.at("role_tag"));
    std::string content = required_text_field(message, tags.at("content_tag"));
    if (first && role == tags.at("system_tag"))
      c.system = content;
    else if (role == tags.at("user_tag") || role == "user")
      c.messages.push_back({Role::kUser, content});
    else if (role == tags.at("assistant_tag") || role == "assistant")
      c.messages.push_back({Role::kAssistant, content, trained_field(message)});
    else if (role == tags.at("observation_tag"))
      c.messages.push_back({Role::kObservation, content});
    else if (role == tags.at("function_tag"))
      c.messages.push_back({Role::kFunction, content, trained_field(message)});
    else
      throw BadRow{fmt::format("role \"{}\" is unknown or out of place", printable(role, 40))};
    first = false;
  }
  return c;
}

}  // namespace fettle
