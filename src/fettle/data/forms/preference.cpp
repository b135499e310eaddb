// Preference pairs (chosen, rejected) and labelled texts.
#include <nlohmann/json.hpp>

#include "fettle/data/forms/fields.h"

namespace fettle {
namespace {

// An answer: a text, a message, or a list of messages of which the last answers.
void append_answer(const DatasetEntry& entry, const OrderedJson& value, const std::string& key,
                   Conversation& c) {
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
  append_history(entry, row, c);
  std::string first = text_field(row, entry.column("prompt")),
              second = text_field(row, entry.column("query"));
  if (!first.empty() || !second.empty())
    c.messages.push_back(
        {Role::kUser, first.empty() || second.empty() ? first + second : first + "\n" + second});
}

}  // namespace

std::string answer_key(const DatasetEntry& entry, bool chosen) {
  const char* usual = chosen ? "chosen" : "rejected";
  const std::string& named = entry.column(usual);
  return named.empty() ? usual : named;
}

Conversation from_preference(const DatasetEntry& entry, const OrderedJson& row, bool chosen) {
  Conversation c;
  auto column = [&](const char* usual) {
    const std::string& named = entry.column(usual);
    return named.empty() ? std::string(usual) : named;
  };
  c.system = text_field(row, column("system"));
  c.tools = tools_field(row, column("tools"));
  const char* whole = chosen ? "chosen_messages" : "rejected_messages";
  if (has_field(row, whole)) {
    append_messages(required_list_field(row, whole), message_tags(), c);
    return c;
  }
  const std::string key = answer_key(entry, chosen);
  if (!has_field(row, key)) throw BadRow{fmt::format("\"{}\" is missing", key)};
  append_question(entry, row, c);
  append_answer(entry, row[key], key, c);
  return c;
}

LabelledText to_labelled(const OrderedJson& row) {
  if (!row.is_object()) throw BadRow{fmt::format("the row is {}, expected an object", row.type_name())};
  LabelledText out;
  out.text = required_text_field(row, has_field(row, "text") ? "text" : "sentence");
  if (has_field(row, "text_pair")) out.pair = text_field(row, "text_pair");
  if (!has_field(row, "label")) throw BadRow{"\"label\" is missing"};
  const OrderedJson& label = row["label"];
  if (!label.is_string() && !label.is_number() && !label.is_boolean())
    throw BadRow{fmt::format("\"label\" is {}, expected a name or a number", label.type_name())};
  out.label = label.is_string() ? label.get<std::string>() : label.dump();
  if (label.is_boolean()) out.class_id = label.get<bool>();
  if (label.is_number_integer() && label.get<double>() >= 0 && label.get<double>() < (1 << 20))
    out.class_id = label.get<int32_t>();
  out.named = label.is_string();
  return out;
}

Conversation from_labelled(const OrderedJson& row) {
  Conversation c;
  LabelledText given = to_labelled(row);
  c.messages.push_back({Role::kUser, given.pair ? given.text + "\n" + *given.pair : given.text});
  c.messages.push_back({Role::kAssistant, given.label});
  return c;
}

}  // namespace fettle
