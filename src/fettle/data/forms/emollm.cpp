// EmoLLM: rounds of {system, input, output}; the system prompt stands in the first one.
#include <nlohmann/json.hpp>

#include "fettle/data/forms/fields.h"

namespace fettle {

Conversation from_emollm(const OrderedJson& row) {
  Conversation c;
  for (const OrderedJson& turn : required_list_field(row, "conversation")) {
    if (!turn.is_object()) throw BadRow{"a round is not an object"};
    std::string system = text_field(turn, "system");
    if (c.messages.empty())
      c.system = system;
    else if (!system.empty() && system != c.system)
      throw BadRow{"the system prompt changes within the conversation"};
    c.messages.push_back({Role::kUser, required_text_field(turn, "input")});
    c.messages.push_back({Role::kAssistant, required_text_field(turn, "output"), trained_field(turn)});
  }
  return c;
}

}  // namespace fettle
