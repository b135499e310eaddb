#include "fettle/data/forms/forms.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "fettle/base/error.h"
#include "fettle/data/forms/fields.h"

namespace fettle {
namespace {

// Turns alternate user-side and answering-side and end with an answer.
void check_turns(const Conversation& conversation) {
  const std::vector<Message>& messages = conversation.messages;
  if (messages.empty()) throw BadRow{"no messages"};
  if (std::all_of(messages.begin(), messages.end(), [](const Message& m) { return m.content.empty(); }))
    throw BadRow{"every message is empty"};
  for (size_t i = 0; i < messages.size(); ++i) {
    bool answer = messages[i].role == Role::kAssistant || messages[i].role == Role::kFunction;
    if (answer != (i % 2 == 1))
      throw BadRow{fmt::format("message {} breaks the order of question and answer", i + 1)};
  }
  if (messages.size() % 2 == 1) throw BadRow{"the last message has no answer"};
}

// Tells lists of turns apart by the keys of their first turn.
std::optional<Form> form_of_turns(const OrderedJson& turns) {
  if (!turns.is_array() || turns.empty() || !turns[0].is_object()) return std::nullopt;
  if (turns[0].contains("role")) return Form::kMessages;
  if (turns[0].contains("from")) return Form::kShareGpt;
  if (turns[0].contains("input") || turns[0].contains("output")) return Form::kEmoLlm;
  return std::nullopt;
}

}  // namespace

const char* form_name(Form form) {
  switch (form) {
    case Form::kAlpaca:
      return "alpaca";
    case Form::kShareGpt:
      return "ShareGPT";
    case Form::kMessages:
      return "messages";
    case Form::kEmoLlm:
      return "EmoLLM conversation";
    case Form::kReasoning:
      return "Question/Complex_CoT/Response";
    case Form::kPromptCompletion:
      return "prompt/completion";
    case Form::kTokens:
      return "token ids";
    case Form::kText:
      return "text";
    case Form::kPreference:
      return "chosen/rejected";
    case Form::kLabelled:
      return "text/label";
    case Form::kPattern:
      return "pattern";
  }
  return "?";
}

Form detect_form(const DatasetEntry& entry, const Record& record) {
  const OrderedJson& row = record.value;
  if (!row.is_object())
    fail_input("{}: a row is {}, expected an object with named fields", record.origin, row.type_name());
  if (has_field(row, "input_ids")) return Form::kTokens;
  if (entry.pattern) return Form::kPattern;
  if ((has_field(row, answer_key(entry, true)) && has_field(row, answer_key(entry, false))) ||
      (has_field(row, "chosen_messages") && has_field(row, "rejected_messages")))
    return Form::kPreference;
  if (entry.formatting == "alpaca") return Form::kAlpaca;
  if (entry.formatting == "sharegpt") return Form::kShareGpt;
  if (entry.formatting == "openai") return Form::kMessages;
  for (const char* key : {"messages", "conversations", "conversation"})
    if (has_field(row, key)) {
      if (std::optional<Form> form = form_of_turns(row[key])) return *form;
      return std::string_view(key) == "messages"        ? Form::kMessages
             : std::string_view(key) == "conversations" ? Form::kShareGpt
                                                        : Form::kEmoLlm;
    }
  if (has_field(row, "Question") && has_field(row, "Response")) return Form::kReasoning;
  if (has_field(row, "prompt") && has_field(row, "completion")) return Form::kPromptCompletion;
  if (has_field(row, entry.column("prompt")) && has_field(row, entry.column("response")))
    return Form::kAlpaca;
  if ((has_field(row, "text") || has_field(row, "sentence")) && has_field(row, "label"))
    return Form::kLabelled;
  if (has_field(row, "text")) return Form::kText;
  // Rows as short as {"input", "output"}: alpaca without an instruction.
  if (has_field(row, entry.column("query")) && has_field(row, entry.column("response"))) return Form::kAlpaca;
  std::vector<std::string> keys;
  for (const auto& [key, value] : row.items())
    if (keys.size() < 12) keys.push_back(printable(key, 30));
  fail_input(
      "{}: the fields {} fit none of the known forms: alpaca (instruction, input, output), ShareGPT "
      "(conversations), "
      "messages, conversation, Question/Complex_CoT/Response, prompt/completion, input_ids, text, "
      "text/label, "
      "chosen/rejected; write a prompt_pattern or name the "
      "columns in "
      "dataset_info.json",
      record.origin, fmt::join(keys, ", "));
}

Conversation to_conversation(Form form, const DatasetEntry& entry, const OrderedJson& row) {
  if (!row.is_object()) throw BadRow{fmt::format("the row is {}, expected an object", row.type_name())};
  Conversation c;
  switch (form) {
    case Form::kAlpaca:
      c = from_alpaca(entry, row);
      break;
    case Form::kShareGpt:
      c = from_sharegpt(entry, row);
      break;
    case Form::kMessages:
      c = from_messages(entry, row);
      break;
    case Form::kEmoLlm:
      c = from_emollm(row);
      break;
    case Form::kReasoning:
      c = from_reasoning(row);
      break;
    case Form::kPromptCompletion:
      c = from_prompt_completion(row);
      break;
    case Form::kPreference:
      c = from_preference(entry, row, true);
      break;
    case Form::kLabelled:
      c = from_labelled(row);
      break;
    case Form::kTokens:
    case Form::kText:
    case Form::kPattern:
      throw BadRow{"not a conversation"};
  }
  // KTO marks answers that a model should not give.
  if (form != Form::kLabelled && row.contains("label") && row["label"] == false)
    throw BadRow{"label is false: the answer is marked as a bad one"};
  check_turns(c);
  return c;
}

PreferencePair to_pair(const DatasetEntry& entry, const OrderedJson& row) {
  if (!row.is_object()) throw BadRow{fmt::format("the row is {}, expected an object", row.type_name())};
  PreferencePair pair{from_preference(entry, row, true), from_preference(entry, row, false)};
  check_turns(pair.chosen);
  check_turns(pair.rejected);
  auto question = [](const Conversation& c) {
    std::vector<std::string> texts = {c.system};
    for (size_t i = 0; i + 1 < c.messages.size(); ++i) texts.push_back(c.messages[i].content);
    return texts;
  };
  if (question(pair.chosen) != question(pair.rejected))
    throw BadRow{"the chosen and the rejected answer have different questions"};
  return pair;
}

std::string to_plain_text(const DatasetEntry& entry, const OrderedJson& row) {
  if (!row.is_object()) throw BadRow{fmt::format("the row is {}, expected an object", row.type_name())};
  std::string prompt = entry.column("prompt"), query = entry.column("query");
  if (has_field(row, prompt)) {
    std::string text = text_field(row, prompt), more = text_field(row, query);
    return text.empty() || more.empty() ? text + more : text + "\n" + more;
  }
  return required_text_field(row, "text");
}

std::vector<std::string> unread_fields(Form form, const DatasetEntry& entry, const OrderedJson& row) {
  std::vector<std::string> fields;
  if (!entry.registered || !row.is_object()) return fields;
  std::vector<const char*> names;
  if (form == Form::kAlpaca) names = {"history", "system", "tools"};
  if (form == Form::kShareGpt || form == Form::kMessages) names = {"system", "tools"};
  for (const char* name : names)
    if (entry.column(name).empty() && has_field(row, name)) fields.emplace_back(name);
  return fields;
}

}  // namespace fettle
