// Fields of rows and messages, shared by the forms. All throw BadRow.
#pragma once
#include <string>

#include "fettle/data/forms/forms.h"

namespace fettle {

/// The row has `key` with a value other than null.
bool has_field(const OrderedJson& row, const std::string& key);
/// Empty when absent.
std::string text_field(const OrderedJson& row, const std::string& key);
std::string required_text_field(const OrderedJson& row, const std::string& key);
const OrderedJson& required_list_field(const OrderedJson& row, const std::string& key);
/// A JSON list of tools as text; empty when absent. A single tool becomes a list.
std::string tools_field(const OrderedJson& row, const std::string& key);
/// "loss", "weight" or "loss_weight" of an answering turn: whether it is trained.
bool trained_field(const OrderedJson& message);
/// A thought before an answer, between LLaMA-Factory's thought words, so that its templates know it again.
std::string with_thought(const std::string& thought, const std::string& answer);

/// One function for each form.
Conversation from_alpaca(const DatasetEntry& entry, const OrderedJson& row);
Conversation from_sharegpt(const DatasetEntry& entry, const OrderedJson& row);
Conversation from_messages(const DatasetEntry& entry, const OrderedJson& row);
Conversation from_emollm(const OrderedJson& row);
Conversation from_reasoning(const OrderedJson& row);
Conversation from_prompt_completion(const OrderedJson& row);
/// The field that holds the chosen or the rejected answer.
std::string answer_key(const DatasetEntry& entry, bool chosen);
/// The prompt with the chosen or the rejected answer.
Conversation from_preference(const DatasetEntry& entry, const OrderedJson& row, bool chosen);
/// The text as a question, the label as its answer.
Conversation from_labelled(const OrderedJson& row);

/// Appends the earlier rounds of an alpaca row.
void append_history(const DatasetEntry& entry, const OrderedJson& row, Conversation& out);
/// Appends a list of {role, content} messages, with the roles named by `tags`.
void append_messages(const OrderedJson& list, const std::map<std::string, std::string>& tags,
                     Conversation& out);
/// OpenAI's names: role, content, user, assistant, tool, function, system.
const std::map<std::string, std::string>& message_tags();
/// The field that holds the turns of a ShareGPT or messages row: the entry's column, else a usual one that is
/// there.
std::string turns_key(const DatasetEntry& entry, const OrderedJson& row);

}  // namespace fettle
