// Medical-o1's form: Question, Complex_CoT, Response.
#include "fettle/data/forms/fields.h"

namespace fettle {

Conversation from_reasoning(const OrderedJson& row) {
  Conversation c;
  c.messages.push_back({Role::kUser, required_text_field(row, "Question")});
  c.messages.push_back(
      {Role::kAssistant, with_thought(text_field(row, "Complex_CoT"), required_text_field(row, "Response"))});
  return c;
}

}  // namespace fettle
