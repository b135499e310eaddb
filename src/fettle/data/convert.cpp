#include "fettle/data/convert.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "fettle/base/error.h"
#include "fettle/data/record_writer.h"

namespace fettle {
namespace {

constexpr size_t kMaxDroppedRows = 1000;

OrderedJson parsed(const std::string& text) {
  OrderedJson value = OrderedJson::parse(text, nullptr, false);
  if (value.is_discarded()) throw BadRow{"tools or a function call are not JSON"};
  return value;
}

void refuse_tools(const Conversation& c, Form form) {
  bool tools = !c.tools.empty() || std::any_of(c.messages.begin(), c.messages.end(), [](const Message& m) {
    return m.role == Role::kFunction || m.role == Role::kObservation;
  });
  if (tools) throw BadRow{fmt::format("the {} form has no place for tools", form_name(form))};
}

// Only what differs from the default is written.
OrderedJson with_flag(OrderedJson turn, const Message& message) {
  if (!message.trained) turn["loss"] = false;
  return turn;
}

OrderedJson alpaca_row(const Conversation& c) {
  OrderedJson history = OrderedJson::array(), row;
  for (size_t i = 0; i + 2 < c.messages.size(); i += 2) {
    if (!c.messages[i + 1].trained) throw BadRow{"alpaca's history cannot say that a turn is not trained"};
    history.push_back({c.messages[i].content, c.messages[i + 1].content});
  }
  row = {{"instruction", c.messages[c.messages.size() - 2].content},
         {"input", ""},
         {"output", c.messages.back().content}};
  if (!c.system.empty()) row["system"] = c.system;
  if (!history.empty()) row["history"] = history;
  return with_flag(row, c.messages.back());
}

OrderedJson sharegpt_row(const Conversation& c) {
  OrderedJson turns = OrderedJson::array(), row;
  for (const Message& message : c.messages) {
    const char* from = message.role == Role::kUser          ? "human"
                       : message.role == Role::kAssistant   ? "gpt"
                       : message.role == Role::kObservation ? "observation"
                                                            : "function_call";
    turns.push_back(with_flag({{"from", from}, {"value", message.content}}, message));
  }
  row["conversations"] = std::move(turns);
  if (!c.system.empty()) row["system"] = c.system;
  if (!c.tools.empty()) row["tools"] = c.tools;
  return row;
}

OrderedJson messages_row(const Conversation& c) {
  OrderedJson messages = OrderedJson::array(), row;
  if (!c.system.empty()) messages.push_back({{"role", "system"}, {"content", c.system}});
  for (const Message& message : c.messages) {
    if (message.role == Role::kFunction) {
      OrderedJson calls = parsed(message.content), list = OrderedJson::array();
      if (!calls.is_array()) calls = OrderedJson::array({calls});
      for (const OrderedJson& call : calls) list.push_back({{"type", "function"}, {"function", call}});
      messages.push_back(
          with_flag({{"role", "assistant"}, {"content", nullptr}, {"tool_calls", list}}, message));
      continue;
    }
    const char* role = message.role == Role::kUser        ? "user"
                       : message.role == Role::kAssistant ? "assistant"
                                                          : "tool";
    messages.push_back(with_flag({{"role", role}, {"content", message.content}}, message));
  }
  row["messages"] = std::move(messages);
  if (!c.tools.empty()) row["tools"] = parsed(c.tools);
  return row;
}

OrderedJson emollm_row(const Conversation& c) {
  OrderedJson rounds = OrderedJson::array();
  for (size_t i = 0; i + 1 < c.messages.size(); i += 2) {
    OrderedJson round = OrderedJson::object();
    if (i == 0 && !c.system.empty()) round["system"] = c.system;
    round["input"] = c.messages[i].content;
    round["output"] = c.messages[i + 1].content;
    rounds.push_back(with_flag(std::move(round), c.messages[i + 1]));
  }
  return {{"conversation", rounds}};
}

OrderedJson prompt_completion_row(const Conversation& c) {
  if (c.messages.size() != 2 || !c.system.empty())
    throw BadRow{"prompt/completion has place for one question and one answer only"};
  return with_flag({{"prompt", c.messages[0].content}, {"completion", c.messages[1].content}}, c.messages[1]);
}

std::string registry_entry(Form form, const std::filesystem::path& output) {
  OrderedJson entry = {{"file_name", output.filename().string()}};
  if (form == Form::kAlpaca)
    entry["columns"] = {{"prompt", "instruction"},
                        {"query", "input"},
                        {"response", "output"},
                        {"system", "system"},
                        {"history", "history"}};
  if (form == Form::kShareGpt || form == Form::kMessages) {
    entry["formatting"] = form == Form::kShareGpt ? "sharegpt" : "openai";
    entry["columns"] = {{"messages", form == Form::kShareGpt ? "conversations" : "messages"},
                        {"tools", "tools"}};
    if (form == Form::kShareGpt)
      entry["columns"]["system"] = "system";
    else
      entry["tags"] = {{"role_tag", "role"},        {"content_tag", "content"},
                       {"user_tag", "user"},        {"assistant_tag", "assistant"},
                       {"observation_tag", "tool"}, {"function_tag", "function"},
                       {"system_tag", "system"}};
  }
  return OrderedJson{{output.stem().string(), entry}}.dump(2);
}

}  // namespace

Form parse_target_form(const std::string& name) {
  static const std::vector<std::pair<std::string, Form>> forms = {
      {"alpaca", Form::kAlpaca},
      {"sharegpt", Form::kShareGpt},
      {"messages", Form::kMessages},
      {"emollm", Form::kEmoLlm},
      {"prompt-completion", Form::kPromptCompletion}};
  std::vector<std::string> known;
  for (const auto& [known_name, form] : forms) {
    if (known_name == name) return form;
    known.push_back(known_name);
  }
  std::string near = nearest(name, known);
  fail_usage("form \"{}\" is unknown{}; known: {}", printable(name),
             near.empty() ? "" : fmt::format(", did you mean {}?", near), fmt::join(known, ", "));
}

OrderedJson write_row(Form form, const Conversation& conversation) {
  if (form != Form::kShareGpt && form != Form::kMessages) refuse_tools(conversation, form);
  switch (form) {
    case Form::kAlpaca:
      return alpaca_row(conversation);
    case Form::kShareGpt:
      return sharegpt_row(conversation);
    case Form::kMessages:
      return messages_row(conversation);
    case Form::kEmoLlm:
      return emollm_row(conversation);
    case Form::kPromptCompletion:
      return prompt_completion_row(conversation);
    case Form::kReasoning:
    case Form::kTokens:
    case Form::kText:
    case Form::kPreference:
    case Form::kLabelled:
    case Form::kPattern:
      break;
  }
  fail_usage("nothing is converted into the {} form", form_name(form));
}

ConvertReport convert_dataset(const std::filesystem::path& dataset_dir, const std::string& dataset,
                              Form target, const std::filesystem::path& output,
                              const std::string& default_system,
                              const std::function<void(int64_t rows)>& progress) {
  DatasetEntry entry = find_dataset(dataset_dir, dataset);
  if (entry.slice || entry.num_samples)
    fail_usage("dataset {}: whole data sets are converted; leave the slice out", dataset);
  std::error_code ignored;
  if (std::filesystem::equivalent(entry.path, output, ignored))
    fail_usage("{}: input and output are one file; name another output", output.string());
  ConvertReport report;
  report.registry_entry = registry_entry(target, output);
  RecordWriter writer(output);
  for_each_record(entry.path, [&](Record&& record) {
    if (report.read++ == 0) {
      report.from = detect_form(entry, record);
      if (report.from == Form::kText || report.from == Form::kTokens)
        fail_input("{}: rows of {} are no conversations and cannot be written in the {} form", record.origin,
                   form_name(report.from), form_name(target));
    }
    if (progress) progress(report.read);
    try {
      Conversation conversation = to_conversation(report.from, entry, record.value);
      if (conversation.system.empty()) conversation.system = default_system;
      writer.write(write_row(target, conversation));
      ++report.written;
    } catch (const BadRow& bad) {
      if (report.dropped_rows.size() < kMaxDroppedRows)
        report.dropped_rows.push_back({record.origin, bad.reason});
    }
    return true;
  });
  if (report.read == 0) fail_input("{}: no records", entry.path.string());
  if (report.written == 0)
    fail_input("{}: none of the {} rows can be written in the {} form: {}: {}", entry.path.string(),
               report.read, form_name(target), report.dropped_rows[0].origin, report.dropped_rows[0].reason);
  writer.commit();
  return report;
}

}  // namespace fettle
