// TRL's prompt/completion: two texts, or two lists of messages of which the second is learned.
#include <nlohmann/json.hpp>

#include "fettle/data/forms/fields.h"

namespace fettle {

Conversation from_prompt_completion(const OrderedJson& row) {
  Conversation c;
  if (has_field(row, "prompt") && row["prompt"].is_array()) {
    append_messages(row["prompt"], message_tags(), c);
    for (Message& message : c.messages)
      message.trained = message.role != Role::kAssistant && message.role != Role::kFunction;
    append_messages(required_list_field(row, "completion"), message_tags(), c);
    c.tools = tools_field(row, "tools");
    return c;
  }
  c.messages.push_back({Role::kUser, required_text_field(row, "prompt")});
  c.messages.push_back({Role::kAssistant, required_text_field(row, "completion"), trained_field(row)});
  return c;
}

}  // namespace fettle
