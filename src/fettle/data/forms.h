// The layouts in which people keep their data, told apart and turned into conversations.
#pragma once
#include <optional>
#include <string>

#include "fettle/data/dataset_info.h"
#include "fettle/data/reader.h"
#include "fettle/text/chat.h"

namespace fettle {

enum class Form {
  kAlpaca,        ///< instruction, input, output, history, system
  kShareGpt,      ///< conversations: [{from, value}], system, tools
  kMessages,      ///< messages: [{role, content}], tools
  kEmoLlm,        ///< conversation: [{system, input, output}]
  kReasoning,     ///< Question, Complex_CoT, Response
  kPromptCompletion,
  kTokens,        ///< input_ids, labels
  kText,          ///< text
};
const char* form_name(Form form);

/// The form that the entry declares, else the one whose fields `row` has. Error(kBadInput) listing what is known.
Form detect_form(const DatasetEntry& entry, const Record& row);

/// A row that cannot be used; the reason is for the user.
struct BadRow {
  std::string reason;
};

/// Throws BadRow. For all forms but kTokens and kText.
Conversation to_conversation(Form form, const DatasetEntry& entry, const OrderedJson& row);

}  // namespace fettle
