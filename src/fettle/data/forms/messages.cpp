// OpenAI's messages, with contents as text or as parts. LLaMA-Factory's converter adds "detailed thinking
// off" to the system prompt of rows without tools; that is not done here.
#include <nlohmann/json.hpp>

#include "fettle/base/error.h"
#include "fettle/data/forms/fields.h"

namespace fettle {
namespace {

struct Content {
  std::string text, thought;
  OrderedJson calls = OrderedJson::array();
};

// Arguments are an object; OpenAI's own files spell it as a JSON text.
OrderedJson normal_call(const OrderedJson& given) {
  const OrderedJson& call = given.is_object() && given.contains("function") ? given["function"] : given;
  if (!call.is_object() || !call.contains("name")) throw BadRow{"a tool call has no name"};
  OrderedJson result = call;
  if (!has_field(call, "arguments")) result["arguments"] = OrderedJson::object();
  if (result["arguments"].is_string()) {
    OrderedJson parsed =
        OrderedJson::parse(result["arguments"].get_ref<const std::string&>(), nullptr, false);
    if (parsed.is_object()) result["arguments"] = std::move(parsed);
  }
  return result;
}

void add_part(const OrderedJson& part, Content& out) {
  if (part.is_string()) {
    out.text += part.get<std::string>();
    return;
  }
  if (!part.is_object()) throw BadRow{"a content part is not an object"};
  std::string type = text_field(part, "type");
  auto value = [&](const char* key) {
    return has_field(part, key) ? text_field(part, key) : text_field(part, "value");
  };
  if (type == "text" || type == "input_text" || type == "output_text")
    out.text += value("text");
  else if (type == "reasoning" || type == "thinking")
    out.thought += value(type.c_str());
  else if (type == "tool_call") {
    OrderedJson call = OrderedJson::parse(value("tool_call"), nullptr, false);
    if (call.is_discarded()) throw BadRow{"a tool_call part is not JSON"};
    out.calls.push_back(normal_call(call));
  } else {
    throw BadRow{fmt::format("a content part is \"{}\"; only text can be trained on", printable(type, 40))};
  }
}

Content content_of(const OrderedJson& message, const std::string& key) {
  Content content;
  if (has_field(message, key)) {
    if (message[key].is_array())
      for (const OrderedJson& part : message[key]) add_part(part, content);
    else
      content.text = text_field(message, key);
  }
  for (const char* thought : {"reasoning_content", "reasoning", "thinking"})
    if (content.thought.empty()) content.thought = text_field(message, thought);
  if (has_field(message, "tool_calls"))
    for (const OrderedJson& call : required_list_field(message, "tool_calls"))
      content.calls.push_back(normal_call(call));
  return content;
}

}  // namespace

const std::map<std::string, std::string>& message_tags() {
  static const std::map<std::string, std::string> tags = {
      {"role_tag", "role"},           {"content_tag", "content"},  {"user_tag", "user"},
      {"assistant_tag", "assistant"}, {"observation_tag", "tool"}, {"function_tag", "function"},
      {"system_tag", "system"}};
  return tags;
}

void append_messages(const OrderedJson& list, const std::map<std::string, std::string>& tags,
                     Conversation& out) {
  const std::string& key = tags.at("content_tag");
  for (const OrderedJson& message : list) {
    if (!message.is_object()) throw BadRow{"a message is not an object"};
    std::string role = required_text_field(message, tags.at("role_tag"));
    bool answers = role == tags.at("assistant_tag") || role == "assistant" || role == tags.at("function_tag");
    Content content = content_of(message, key);
    if (!has_field(message, key) && content.calls.empty() && content.thought.empty())
      throw BadRow{fmt::format("\"{}\" of a message is missing", printable(key))};
    if (answers) {
      bool calls = !content.calls.empty();
      // A call has no text beside it, as in LLaMA-Factory; its thought stays.
      std::string text = calls ? content.calls.dump() : content.text;
      Role kind = calls || role == tags.at("function_tag") ? Role::kFunction : Role::kAssistant;
      out.messages.push_back({kind, with_thought(content.thought, text), trained_field(message)});
    } else if (role == tags.at("system_tag") || role == "developer") {
      if (!out.messages.empty()) throw BadRow{"a system message stands behind other messages"};
      out.system = content.text;
    } else if (role == tags.at("user_tag") || role == "user") {
      out.messages.push_back({Role::kUser, content.text});
    } else if (role == tags.at("observation_tag") || role == "tool") {
      // Answers of parallel calls are one turn.
      bool joins = !out.messages.empty() && out.messages.back().role == Role::kObservation;
      if (joins)
        out.messages.back().content += "\n</tool_response>\n<tool_response>\n" + content.text;
      else
        out.messages.push_back({Role::kObservation, content.text});
    } else {
      throw BadRow{fmt::format("role \"{}\" is unknown", printable(role, 40))};
    }
  }
}

Conversation from_messages(const DatasetEntry& entry, const OrderedJson& row) {
  Conversation c;
  c.system = text_field(row, entry.column("system"));
  c.tools = tools_field(row, entry.column("tools"));
  bool own_tags = entry.tags_given || entry.formatting == "openai";
  append_messages(required_list_field(row, turns_key(entry, row)), own_tags ? entry.tags : message_tags(), c);
  // What a tool says last is never answered, so nothing of it is learned.
  if (!c.messages.empty() && c.messages.back().role == Role::kObservation) c.messages.pop_back();
  return c;
}

}  // namespace fettle
