#include "fettle/text/template_tools.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "fettle/base/error.h"
#include "fettle/text/jinja/jinja.h"

namespace fettle {
namespace {

using Describe = std::string (*)(const OrderedJson& tools, const std::tm& now);
using Write = std::string (*)(const std::vector<std::pair<std::string, OrderedJson>>& calls);
using Calls = std::vector<std::pair<std::string, OrderedJson>>;

struct Format {
  std::string_view name;
  Describe describe;
  Write write;
};

const OrderedJson& field(const OrderedJson& object, const char* key, const char* what) {
  if (!object.is_object() || !object.contains(key))
    fail_input("{} has no \"{}\": {}", what, key,
               printable(object.dump(-1, ' ', false, OrderedJson::error_handler_t::replace)));
  return object[key];
}

std::string text_or_empty(const OrderedJson& object, const char* key) {
  if (!object.is_object() || !object.contains(key)) return "";
  const OrderedJson& value = object[key];
  return value.is_string() ? value.get<std::string>() : python_json(value);
}

bool is_wrapped(const OrderedJson& tool) {
  return tool.is_object() && tool.contains("type") && tool["type"] == "function";
}
/// The function itself.
const OrderedJson& bare(const OrderedJson& tool) {
  return is_wrapped(tool) ? field(tool, "function", "a tool") : tool;
}
/// The function as {"type": "function", "function": …}.
OrderedJson wrapped(const OrderedJson& tool) {
  if (is_wrapped(tool)) return tool;
  OrderedJson out;
  out["type"] = "function";
  out["function"] = tool;
  return out;
}
std::string name_of(const OrderedJson& function) {
  const OrderedJson& name = field(function, "name", "a tool");
  if (!name.is_string()) fail_input("the name of a tool must be text, found {}", printable(name.dump()));
  return name.get<std::string>();
}

// ---- default: Action / Action Input

std::string describe_default(const OrderedJson& tools, const std::tm&) {
  std::string text, names;
  for (const OrderedJson& tool : tools) {
    const OrderedJson& function = bare(tool);
    const OrderedJson& parameters = field(function, "parameters", "a tool");
    std::string arguments;
    for (const auto& [name, parameter] : field(parameters, "properties", "a tool's \"parameters\"").items()) {
      std::string line = fmt::format("  - {} ({}", name, text_or_empty(parameter, "type"));
      if (parameters.contains("required"))
        for (const OrderedJson& required : parameters["required"])
          if (required == name) line += ", required";
      line += "): " + text_or_empty(parameter, "description");
      if (parameter.is_object() && parameter.contains("enum") && !parameter["enum"].empty()) {
        std::string choices;
        for (const OrderedJson& choice : parameter["enum"])
          choices += (choices.empty() ? "" : ", ") +
                     (choice.is_string() ? choice.get<std::string>() : python_json(choice));
        line += ", should be one of [" + choices + "]";
      }
      if (parameter.is_object() && parameter.contains("items") && !parameter["items"].empty())
        line += ", where each item should be " + text_or_empty(parameter["items"], "type");
      arguments += line + "\n";
    }
    std::string name = name_of(function);
    text += fmt::format("> Tool Name: {}\nTool Description: {}\nTool Args:\n{}\n", name,
                        text_or_empty(function, "description"), arguments);
    names += (names.empty() ? "" : ", ") + name;
  }
  return "You have access to the following tools:\n" + text +
         "Use the following format if using a tool:\n```\nAction: tool name (one of [" + names +
         "])\nAction Input: the input to the tool, in a JSON format representing the kwargs "
         "(e.g. ```{\"input\": \"hello world\", \"num_beams\": 5}```)\n```\n";
}
std::string write_default(const Calls& calls) {
  std::string out;
  for (const auto& [name, arguments] : calls)
    out +=
        fmt::format("{}Action: {}\nAction Input: {}", out.empty() ? "" : "\n", name, python_json(arguments));
  return out;
}

// ---- glm4

std::string describe_glm4(const OrderedJson& tools, const std::tm&) {
  std::string out =
      "你是一个名为 ChatGLM 的人工智能助手。你是基于智谱 AI 公司训练的语言模型 GLM-4 模型开发的，"
      "你的任务是针对用户的问题和要求提供适当的答复和支持。\n\n# 可用工具";
  for (const OrderedJson& tool : tools)
    out += fmt::format("\n\n## {}\n\n{}\n在调用上述函数时，请使用 Json 格式表示调用的参数。",
                       name_of(bare(tool)), python_json(bare(tool), 4));
  return out;
}
std::string write_glm4(const Calls& calls) {
  if (calls.size() != 1) fail_input("the tool format glm4 writes one call in a turn, found {}", calls.size());
  return calls[0].first + "\n" + python_json(calls[0].second);
}

std::string tool_lines(const OrderedJson& tools) {
  std::string out;
  for (const OrderedJson& tool : tools) out += "\n" + python_json(wrapped(tool));
  return out;
}

constexpr std::string_view kToolsHead =
    "# Tools\n\nYou may call one or more functions to assist with the user query.\n\n"
    "You are provided with function signatures within <tools></tools> XML tags:\n<tools>";

std::string value_text(const OrderedJson& value) {
  return value.is_string() ? value.get<std::string>() : python_json(value);
}

std::string describe_glm4_moe(const OrderedJson& tools, const std::tm&) {
  return fmt::format("\n\n{}{}", kToolsHead, tool_lines(tools)) +
         "\n</tools>\n\nFor each function call, output the function name and arguments within the following "
         "XML "
         "format:\n<tool_call>{function-name}\n<arg_key>{arg-key-1}</arg_key>\n<arg_value>{arg-value-1}</"
         "arg_value>"
         "\n<arg_key>{arg-key-2}</arg_key>\n<arg_value>{arg-value-2}</arg_value>\n...\n</tool_call>\n";
}
std::string write_glm4_moe(const Calls& calls) {
  std::string out;
  for (const auto& [name, arguments] : calls) {
    out += (out.empty() ? "" : "\n") + ("\n<tool_call>" + name);
    for (const auto& [key, value] : arguments.items())
      out += "\n<arg_key>" + key + "</arg_key>\n<arg_value>" + value_text(value) + "</arg_value>";
  }
  return out;
}

// ---- llama3

std::string describe_llama3(const OrderedJson& tools, const std::tm& now) {
  char date[64];
  date[std::strftime(date, sizeof date - 1, "%d %b %Y", &now)] = '\0';
  std::string out = fmt::format("Cutting Knowledge Date: December 2023\nToday Date: {}\n\n", date);
  out +=
      "You have access to the following functions. To call a function, please respond with JSON for a "
      "function call. "
      "Respond in the format {\"name\": function name, \"parameters\": dictionary of argument name and its "
      "value}. "
      "Do not use variables.\n\n";
  for (const OrderedJson& tool : tools) out += python_json(wrapped(tool), 4) + "\n\n";
  return out;
}
OrderedJson call_objects(const Calls& calls, const char* arguments_key) {
  OrderedJson out = OrderedJson::array();
  for (const auto& [name, arguments] : calls) {
    OrderedJson call;
    call["name"] = name;
    call[arguments_key] = arguments;
    out.push_back(std::move(call));
  }
  return out;
}
std::string write_llama3(const Calls& calls) {
  OrderedJson objects = call_objects(calls, "parameters");
  return python_json(objects.size() == 1 ? objects[0] : objects);
}

// ---- mistral

std::string describe_mistral(const OrderedJson& tools, const std::tm&) {
  OrderedJson list = OrderedJson::array();
  for (const OrderedJson& tool : tools) list.push_back(wrapped(tool));
  return "[AVAILABLE_TOOLS] " + python_json(list) + "[/AVAILABLE_TOOLS]";
}
std::string write_mistral(const Calls& calls) {
  return python_json(call_objects(calls, "arguments"));
}

// ---- qwen, ling

constexpr std::string_view kToolsTail =
    "\n</tools>\n\nFor each function call, return a json object with function name and arguments within "
    "<tool_call></tool_call> XML tags:\n<tool_call>\n{\"name\": <function-name>, \"arguments\": "
    "<args-json-object>}\n</tool_call>";

std::string describe_qwen(const OrderedJson& tools, const std::tm&) {
  return fmt::format("\n\n{}{}{}", kToolsHead, tool_lines(tools), kToolsTail);
}
std::string write_qwen(const Calls& calls) {
  std::string out;
  for (const OrderedJson& call : call_objects(calls, "arguments"))
    out += fmt::format("{}<tool_call>\n{}\n</tool_call>", out.empty() ? "" : "\n", python_json(call));
  return out;
}
std::string describe_ling(const OrderedJson& tools, const std::tm&) {
  return fmt::format("{}{}{}\ndetailed thinking off", kToolsHead, tool_lines(tools), kToolsTail);
}

// ---- minimax1

std::string describe_minimax1(const OrderedJson& tools, const std::tm&) {
  std::string text;
  for (const OrderedJson& tool : tools) text += python_json(bare(tool)) + "\n";
  return "You are provided with these tools:\n<tools>\n" + text +
         "</tools>\n\nIf you need to call tools, please respond with <tool_calls></tool_calls> XML tags, and "
         "provide "
         "tool-name and json-object of arguments, following the format below:\n<tool_calls>\n{\"name\": "
         "<tool-name-1>, \"arguments\": <args-json-object-1>}\n...\n</tool_calls>";
}
std::string write_minimax1(const Calls& calls) {
  std::string lines;
  for (const OrderedJson& call : call_objects(calls, "arguments")) lines += python_json(call) + "\n";
  return "<tool_calls>\n" + lines + "</tool_calls>";
}

// ---- seed_oss

std::string describe_seed(const OrderedJson& tools, const std::tm&) {
  return "system\nYou are Doubao, a helpful AI assistant. You may call one or more functions to assist with "
         "the user "
         "query.Tool List:\nYou are authorized to use the following tools (described in JSON Schema format). "
         "Before "
         "performing any task, you must decide how to call them based on the descriptions and parameters of "
         "these "
         "tools.\n" +
         python_json(tools) +
         "\n工具调用请遵循如下格式:\n<seed:tool_call>\n<function=example_function_name>\n"
         "<parameter=example_parameter_1>value_1</parameter>\n<parameter=example_parameter_2>This is the "
         "value for "
         "the second parameter\nthat can span\nmultiple lines</parameter>\n</function>\n</seed:tool_call>\n";
}
std::string write_seed(const Calls& calls) {
  std::string out;
  for (const auto& [name, arguments] : calls) {
    out += (out.empty() ? "" : "\n") + ("\n<seed:tool_call>\n<function=" + name);
    for (const auto& [key, value] : arguments.items())
      out += "\n<parameter=" + key + ">" + value_text(value) + "</parameter>";
    out += "\n</function>\n</seed:tool_call>";
  }
  return out;
}

constexpr Format kFormats[] = {
    {"default", describe_default, write_default},    {"glm4", describe_glm4, write_glm4},
    {"glm4_moe", describe_glm4_moe, write_glm4_moe}, {"ling", describe_ling, write_qwen},
    {"llama3", describe_llama3, write_llama3},       {"minimax1", describe_minimax1, write_minimax1},
    {"mistral", describe_mistral, write_mistral},    {"qwen", describe_qwen, write_qwen},
    {"seed_oss", describe_seed, write_seed},
};

const Format& find_format(std::string_view name) {
  for (const Format& format : kFormats)
    if (format.name == name) return format;
  std::vector<std::string> names = tool_format_names();
  fail_usage("unknown tool_format \"{}\"; did you mean \"{}\"? known: {}", name,
             nearest(std::string(name), names), fmt::join(names, ", "));
}

}  // namespace

std::string python_json(const OrderedJson& json, int indent) {
  static const jinja::Template kLine("{{ value | tojson }}", "tojson");
  static const jinja::Template kIndented("{{ value | tojson(indent=width) }}", "tojson");
  jinja::Value context = jinja::Value::dict({{"value", jinja::Value::from_json(json)}, {"width", indent}});
  return (indent ? kIndented : kLine).render(context).text;
}

std::vector<std::string> tool_format_names() {
  std::vector<std::string> names;
  for (const Format& format : kFormats) names.emplace_back(format.name);
  return names;
}

std::string describe_tools(std::string_view format, std::string_view tools, const std::tm& now) {
  const Format& chosen = find_format(format);
  OrderedJson list = parse_ordered_json(tools, "the tools of a conversation");
  if (!list.is_array())
    fail_input("the tools of a conversation must be a JSON list, found {}", printable(tools));
  return list.empty() ? "" : chosen.describe(list, now);
}

std::string write_calls(std::string_view format, std::string_view calls) {
  const Format& chosen = find_format(format);
  OrderedJson list = parse_ordered_json(calls, "a function call turn");
  if (!list.is_array()) list = OrderedJson::array({list});
  Calls parsed;
  for (const OrderedJson& call : list)
    parsed.emplace_back(name_of(call), field(call, "arguments", "a function call turn"));
  return chosen.write(parsed);
}

}  // namespace fettle
