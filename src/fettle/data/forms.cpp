#include "fettle/data/forms.h"

#include <nlohmann/json.hpp>

#include "fettle/base/error.h"

namespace fettle {
namespace {

bool has(const OrderedJson& row, const std::string& key) {
  return !key.empty() && row.contains(key) && !row[key].is_null();
}

std::string text_of(const OrderedJson& row, const std::string& key) {
  if (!has(row, key)) return "";
  if (!row[key].is_string()) throw BadRow{fmt::format("\"{}\" is not text", printable(key))};
  return row[key].get<std::string>();
}

std::string required_text(const OrderedJson& row, const std::string& key) {
  if (!has(row, key)) throw BadRow{fmt::format("\"{}\" is missing", printable(key))};
  return text_of(row, key);
}

std::string column(const DatasetEntry& entry, const char* name) {
  auto found = entry.columns.find(name);
  return found == entry.columns.end() ? "" : found->second;
}

std::string tools_of(const OrderedJson& row, const std::string& key) {
  if (!has(row, key)) return "";
  return row[key].is_string() ? row[key].get<std::string>() : row[key].dump();
}

// "loss" or "weight" on an assistant message says whether it is trained.
bool trained_flag(const OrderedJson& message) {
  for (const char* key : {"loss", "weight"}) {
    if (!has(message, key)) continue;
    if (message[key].is_boolean()) return message[key].get<bool>();
    if (message[key].is_number()) return message[key].get<double>() != 0;
  }
  return true;
}

// Turns alternate user-side and assistant-side and end with an answer.
void check_turns(const Conversation& conversation) {
  const std::vector<Message>& messages = conversation.messages;
  if (messages.empty()) throw BadRow{"no messages"};
  for (size_t i = 0; i < messages.size(); ++i) {
    bool answer = messages[i].role == Role::kAssistant || messages[i].role == Role::kFunction;
    if (answer != (i % 2 == 1)) throw BadRow{fmt::format("message {} breaks the order of question and answer", i + 1)};
  }
  if (messages.size() % 2 == 1) throw BadRow{"the last message has no answer"};
}

Conversation from_alpaca(const DatasetEntry& entry, const OrderedJson& row) {
  Conversation c;
  c.system = text_of(row, column(entry, "system").empty() ? "system" : column(entry, "system"));
  std::string history = column(entry, "history").empty() ? "history" : column(entry, "history");
  if (has(row, history)) {
    if (!row[history].is_array()) throw BadRow{"history is not a list of [question, answer]"};
    for (const OrderedJson& pair : row[history]) {
      if (!pair.is_array() || pair.size() != 2 || !pair[0].is_string() || !pair[1].is_string()) throw BadRow{"history is not a list of [question, answer]"};
      c.messages.push_back({Role::kUser, pair[0].get<std::string>()});
      c.messages.push_back({Role::kAssistant, pair[1].get<std::string>()});
    }
  }
  std::string prompt = text_of(row, column(entry, "prompt")), query = text_of(row, column(entry, "query"));
  std::string question = prompt.empty() || query.empty() ? prompt + query : prompt + "\n" + query;
  if (question.empty()) throw BadRow{fmt::format("\"{}\" is missing or empty", column(entry, "prompt"))};
  c.messages.push_back({Role::kUser, question});
  c.messages.push_back({Role::kAssistant, text_of(row, column(entry, "response"))});
  return c;
}

Conversation from_sharegpt(const DatasetEntry& entry, const OrderedJson& row) {
  std::string key = column(entry, "messages");
  if (!has(row, key)) key = has(row, "conversations") ? "conversations" : "messages";
  if (!has(row, key) || !row[key].is_array()) throw BadRow{fmt::format("\"{}\" is not a list", printable(key))};
  const auto& tags = entry.tags;
  Conversation c;
  c.system = text_of(row, column(entry, "system").empty() ? "system" : column(entry, "system"));
  c.tools = tools_of(row, column(entry, "tools").empty() ? "tools" : column(entry, "tools"));
  bool first = true;
  for (const OrderedJson& message : row[key]) {
    if (!message.is_object()) throw BadRow{"a message is not an object"};
    std::string role = required_text(message, tags.at("role_tag")), content = required_text(message, tags.at("content_tag"));
    if (first && role == tags.at("system_tag")) {
      c.system = content;
    } else if (role == tags.at("user_tag") || role == "user") {
      c.messages.push_back({Role::kUser, content});
    } else if (role == tags.at("assistant_tag") || role == "assistant") {
      c.messages.push_back({Role::kAssistant, content, trained_flag(message)});
    } else if (role == tags.at("observation_tag")) {
      c.messages.push_back({Role::kObservation, content});
    } else if (role == tags.at("function_tag")) {
      c.messages.push_back({Role::kFunction, content, trained_flag(message)});
    } else {
      throw BadRow{fmt::format("role \"{}\" is unknown", printable(role))};
    }
    first = false;
  }
  return c;
}

Conversation from_messages(const DatasetEntry& entry, const OrderedJson& row) {
  std::string key = has(row, column(entry, "messages")) ? column(entry, "messages") : "messages";
  if (!has(row, key) || !row[key].is_array()) throw BadRow{fmt::format("\"{}\" is not a list", printable(key))};
  Conversation c;
  c.tools = tools_of(row, column(entry, "tools").empty() ? "tools" : column(entry, "tools"));
  for (const OrderedJson& message : row[key]) {
    if (!message.is_object()) throw BadRow{"a message is not an object"};
    std::string role = required_text(message, "role");
    if (role == "assistant" && has(message, "tool_calls")) {
      OrderedJson calls = OrderedJson::array();
      if (!message["tool_calls"].is_array()) throw BadRow{"tool_calls is not a list"};
      for (const OrderedJson& call : message["tool_calls"]) calls.push_back(call.contains("function") ? call["function"] : call);
      c.messages.push_back({Role::kFunction, calls.dump(), trained_flag(message)});
      continue;
    }
    std::string content = text_of(message, "content");
    if (role == "system" || role == "developer") c.system = content;
    else if (role == "user") c.messages.push_back({Role::kUser, content});
    else if (role == "assistant") c.messages.push_back({Role::kAssistant, content, trained_flag(message)});
    else if (role == "tool" && !c.messages.empty() && c.messages.back().role == Role::kObservation)
      c.messages.back().content += "\n</tool_response>\n<tool_response>\n" + content;  // answers of parallel calls are one turn
    else if (role == "tool") c.messages.push_back({Role::kObservation, content});
    else throw BadRow{fmt::format("role \"{}\" is unknown", printable(role))};
  }
  return c;
}

Conversation from_emollm(const OrderedJson& row) {
  Conversation c;
  if (!row["conversation"].is_array()) throw BadRow{"\"conversation\" is not a list"};
  for (const OrderedJson& turn : row["conversation"]) {
    if (!turn.is_object()) throw BadRow{"a turn is not an object"};
    if (c.messages.empty()) c.system = text_of(turn, "system");
    c.messages.push_back({Role::kUser, required_text(turn, "input")});
    c.messages.push_back({Role::kAssistant, required_text(turn, "output"), trained_flag(turn)});
  }
  return c;
}

Conversation from_reasoning(const OrderedJson& row) {
  Conversation c;
  c.messages.push_back({Role::kUser, required_text(row, "Question")});
  // The newlines are those of LLaMA-Factory's thought words, so its templates know the reasoning again.
  std::string thought = text_of(row, "Complex_CoT"), answer = required_text(row, "Response");
  c.messages.push_back({Role::kAssistant, thought.empty() ? answer : "<think>\n" + thought + "\n</think>\n\n" + answer});
  return c;
}

Conversation from_prompt_completion(const OrderedJson& row) {
  Conversation c;
  c.messages.push_back({Role::kUser, required_text(row, "prompt")});
  c.messages.push_back({Role::kAssistant, required_text(row, "completion")});
  return c;
}

}  // namespace

const char* form_name(Form form) {
  switch (form) {
    case Form::kAlpaca: return "alpaca";
    case Form::kShareGpt: return "ShareGPT";
    case Form::kMessages: return "messages";
    case Form::kEmoLlm: return "EmoLLM conversation";
    case Form::kReasoning: return "Question/Complex_CoT/Response";
    case Form::kPromptCompletion: return "prompt/completion";
    case Form::kTokens: return "token ids";
    case Form::kText: return "text";
  }
  return "?";
}

Form detect_form(const DatasetEntry& entry, const Record& record) {
  const OrderedJson& row = record.value;
  if (!row.is_object()) fail_input("{}: a row must be a JSON object", record.origin);
  if (has(row, "input_ids")) return Form::kTokens;
  if (entry.formatting == "alpaca") return Form::kAlpaca;
  if (entry.formatting == "sharegpt") return Form::kShareGpt;
  if (entry.formatting == "openai") return Form::kMessages;
  if (has(row, "messages")) return Form::kMessages;
  if (has(row, "conversations")) {
    const OrderedJson& turns = row["conversations"];
    bool openai = turns.is_array() && !turns.empty() && turns[0].is_object() && turns[0].contains("role");
    return openai ? Form::kMessages : Form::kShareGpt;
  }
  if (has(row, "conversation")) return Form::kEmoLlm;
  if (has(row, "Question") && has(row, "Response")) return Form::kReasoning;
  if (has(row, "prompt") && has(row, "completion")) return Form::kPromptCompletion;
  if (has(row, column(entry, "prompt")) && has(row, column(entry, "response"))) return Form::kAlpaca;
  if (has(row, "text")) return Form::kText;
  std::vector<std::string> keys;
  for (const auto& [key, value] : row.items()) keys.push_back(printable(key, 30));
  fail_input("{}: the fields {} fit none of the known forms: alpaca (instruction, input, output), ShareGPT (conversations), messages, "
             "conversation, Question/Complex_CoT/Response, prompt/completion, input_ids, text; name the columns in dataset_info.json",
             record.origin, fmt::join(keys, ", "));
}

Conversation to_conversation(Form form, const DatasetEntry& entry, const OrderedJson& row) {
  if (!row.is_object()) throw BadRow{"not a JSON object"};
  Conversation c;
  switch (form) {
    case Form::kAlpaca: c = from_alpaca(entry, row); break;
    case Form::kShareGpt: c = from_sharegpt(entry, row); break;
    case Form::kMessages: c = from_messages(entry, row); break;
    case Form::kEmoLlm:
      if (!has(row, "conversation")) throw BadRow{"\"conversation\" is missing"};
      c = from_emollm(row);
      break;
    case Form::kReasoning: c = from_reasoning(row); break;
    case Form::kPromptCompletion: c = from_prompt_completion(row); break;
    case Form::kTokens:
    case Form::kText: throw BadRow{"not a conversation"};
  }
  check_turns(c);
  return c;
}

}  // namespace fettle
