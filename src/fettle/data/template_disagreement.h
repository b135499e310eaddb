// Where a named template and the model's own write a conversation differently.
#pragma once
#include <memory>
#include <string>

#include "fettle/text/chat.h"

namespace fettle {

/// A sentence for the user with the first difference; empty when there is none, when the model has no
/// template of its own or is used with it, and when one of both cannot write the conversation. `origin` names
/// the row.
std::string template_disagreement(const ChatTemplate& chat, const std::shared_ptr<const Tokenizer>& tokenizer,
                                  const Conversation& conversation, const std::string& origin);

}  // namespace fettle
