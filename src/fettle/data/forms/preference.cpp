// Preference pairs (chosen, rejected) and labelled texts: read for what they say, not trained as dialogues.
#include <nlohmann/json.hpp>

#include "fettle/data/forms/fields.h"

namespace fettle {
namespace {

// An answer: a text, a message, or a list of messages of which the last answers.
void append_answer(const DatasetEntry& entry, const OrderedJson& value, const char* key, Conversation& c) {
  if (value.is_string()) {
    c.messages.push_back({Role::kAssistant, value.get<std::string>()});
  } else if (value.is_array()) {
    append_messages(value, message_tags(), c);
  } else if (value.is_object()) {
    const std::string& content = entry.tags.count("content_tag") ? entry.tags.at("content_tag") : "value";
    c.messages.push_back(
        {Role::kAssistant, required_text_field(value, has_field(value, content) ? content : "content")});
  } else {
    throw BadRow{fmt::format("\"{}\" is {}, expected a text or a message", key, value.type_name())};
  }
}

// Everything before the answer, in whatever of the usual fields it stands.
void append_question(const DatasetEntry& entry, const OrderedJson& row, Conversation& c) {
  for (const char* key : {"conversations", "messages"})
    if (has_field(row, key)) {
      const OrderedJson& list = required_list_field(row, key);
      bool sharegpt = !list.empty() && list[0].is_object() && list[0].contains("from");
      append_messages(list, sharegpt ? entry.tags : message_tags(), c);
      return;
    }
  if (has_field(row, "prompt")) {
    if (row["prompt"].is_array())
      append_messages(row["prompt"], message_tags(), c);
    else
      c.messages.push_back({Role::kUser, required_text_field(row, "prompt")});
    return;
  }
  std::string first = text_field(row, entry.column("prompt")),
              second = text_field(row, entry.column("query"));
  if (!first.empty() || !second.empty())
    c.messages.push_back(
        {Role::kUser, first.empty() || second.empty() ? first + second : first + "\n" + second});
}

}  // namespace

Conversation from_preference(const DatasetEntry& entry, const OrderedJson& row, bool chosen) {
  Conversation c;
  c.system = text_field(row, "system");
  const char* whole = chosen ? "chosen_messages" : "rejected_messages";
  if (has_field(row, whole)) {
    append_messages(required_list_field(row, whole), message_tags(), c);
    return c;
  }
  const char* key = chosen ? "chosen" : "rejected";
  if (!has_field(row, key)) throw BadRow{fmt::format("\"{}\" is missing", key)};
  append_question(entry, row, c);
  append_answer(entry, row[key], key, c);
  return c;
}

Conversation from_labelled(const OrderedJson& row) {
  Conversation c;
  std::string text = required_text_field(row, has_field(row, "text") ? "text" : "sentence");
  if (has_field(row, "text_pair")) text += "\n" + text_field(row, "text_pair");
  const OrderedJson& label = row["label"];
  if (!label.is_string() && !label.is_number() && !label.is_boolean())
    throw BadRow{fmt::format("\"label\" is {}, expected a name or a number", label.type_name())};
  c.messages.push_back({Role::kUser, text});
  c.messages.push_back({Role::kAssistant, label.is_string() ? label.get<std::string>() : label.dump()});
  return c;
}

}  // namespace fettle
