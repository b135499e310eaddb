// The model's own Jinja chat template as a ChatTemplate.
#pragma once
#include "fettle/text/chat.h"

namespace fettle {

/// Error(kUsage) when the tokenizer has no chat_template.
std::shared_ptr<const ChatTemplate> make_own_template(std::shared_ptr<const Tokenizer> tokenizer,
                                                      const ChatTemplateOptions& options);

}  // namespace fettle
