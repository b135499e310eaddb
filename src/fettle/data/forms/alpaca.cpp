// LLaMA-Factory's alpaca form: instruction and input make the question, history holds earlier rounds.
#include <nlohmann/json.hpp>

#include "fettle/base/error.h"
#include "fettle/data/forms/fields.h"

namespace fettle {

void append_history(const DatasetEntry& entry, const OrderedJson& row, Conversation& out) {
  const std::string& history = entry.column("history");
  if (!has_field(row, history)) return;
  for (const OrderedJson& pair : required_list_field(row, history)) {
    if (!pair.is_array() || pair.size() != 2 || !pair[0].is_string() || !pair[1].is_string())
      throw BadRow{fmt::format("\"{}\" is not a list of [question, answer]", printable(history))};
    out.messages.push_back({Role::kUser, pair[0].get<std::string>()});
    out.messages.push_back({Role::kAssistant, pair[1].get<std::string>()});
  }
}

Conversation from_alpaca(const DatasetEntry& entry, const OrderedJson& row) {
  Conversation c;
  c.system = text_field(row, entry.column("system"));
  c.tools = tools_field(row, entry.column("tools"));
  append_history(entry, row, c);
  const std::string &prompt = entry.column("prompt"), &query = entry.column("query");
  if (!has_field(row, prompt) && !has_field(row, query))
    throw BadRow{fmt::format("\"{}\" is missing", printable(prompt.empty() ? query : prompt))};
  std::string first = text_field(row, prompt), second = text_field(row, query);
  c.messages.push_back(
      {Role::kUser, first.empty() || second.empty() ? first + second : first + "\n" + second});
  c.messages.push_back(
      {Role::kAssistant, required_text_field(row, entry.column("response")), trained_field(row)});
  return c;
}

}  // namespace fettle
