// The layouts in which people keep their data, told apart and turned into conversations.
#pragma once
#include <optional>
#include <string>
#include <vector>

#include "fettle/data/dataset_info.h"
#include "fettle/data/reader.h"
#include "fettle/text/chat.h"

namespace fettle {

enum class Form {
  kAlpaca,            ///< instruction, input, output, history, system
  kShareGpt,          ///< conversations: [{from, value}], system, tools
  kMessages,          ///< messages: [{role, content}], tools
  kEmoLlm,            ///< conversation: [{system, input, output}]
  kReasoning,         ///< Question, Complex_CoT, Response
  kPromptCompletion,  ///< prompt, completion: texts, or lists of messages
  kTokens,            ///< input_ids, labels
  kText,              ///< text
  kPreference,        ///< chosen and rejected answers; as a conversation, the chosen one
  kLabelled,          ///< text (or sentence) and label; as a conversation, the label answers
  kPattern,           ///< any fields, put together by a pattern of the user's
};
const char* form_name(Form form);

/// A row that cannot be used; the reason is for the user.
struct BadRow {
  std::string reason;
};

/// The form that the entry declares, else the one whose fields the row has. Error(kBadInput) listing what is
/// known.
Form detect_form(const DatasetEntry& entry, const Record& record);

/// For all forms but kTokens, kText and kPattern. User and answering turns alternate and the last one
/// answers. Throws BadRow.
Conversation to_conversation(Form form, const DatasetEntry& entry, const OrderedJson& row);

/// A question with a better and a worse answer; all but the last message is the same in both.
struct PreferencePair {
  Conversation chosen, rejected;
};
/// For kPreference. Throws BadRow.
PreferencePair to_pair(const DatasetEntry& entry, const OrderedJson& row);

struct LabelledText {
  std::string text;
  std::optional<std::string> pair;  ///< a second text, as in entailment
  std::string label;                ///< as the row spells it
  bool named = false;               ///< the label is a name, whose number depends on the other names
  int32_t class_id = -1;            ///< of a label that is a number or a truth value
};
/// For kLabelled. Throws BadRow.
LabelledText to_labelled(const OrderedJson& row);

/// The text of a row for continued pre-training: the prompt (and query) column that the entry names, else
/// "text". Throws BadRow.
std::string to_plain_text(const DatasetEntry& entry, const OrderedJson& row);

/// Fields of the row that look like a system prompt, a history or tools and are not read because
/// dataset_info.json does not name them.
std::vector<std::string> unread_fields(Form form, const DatasetEntry& entry, const OrderedJson& row);

}  // namespace fettle
