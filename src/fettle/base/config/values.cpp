#include "fettle/base/config/values.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <nlohmann/json.hpp>

#include "fettle/base/error.h"

namespace fettle {
namespace {

using Kind = RawValue::Kind;

bool is_scalar(const RawValue& raw) {
  return raw.kind == Kind::kPlain || raw.kind == Kind::kQuoted;
}

std::string_view trim(std::string_view text) {
  const size_t begin = text.find_first_not_of(" \t\r\n");
  if (begin == text.npos) return "";
  return text.substr(begin, text.find_last_not_of(" \t\r\n") - begin + 1);
}

// Keys of this kind hold passwords, which no message shows.
bool is_secret(std::string_view name) {
  for (std::string_view part : {"token", "api_key", "secret", "webhook"})
    if (name.find(part) != name.npos && name != "max_new_tokens") return true;
  return false;
}

std::string shown(const Option& option, const RawValue& raw) {
  if (is_secret(option.name)) return "a value";
  switch (raw.kind) {
    case Kind::kNull:
      return "null";
    case Kind::kList:
      return "a list";
    case Kind::kMap:
      return "a map";
    default:
      return fmt::format("\"{}\"", printable(raw.text));
  }
}

[[noreturn]] void fail_value(const Option& option, const RawValue& raw, const std::string& where,
                             const std::string& hint = "") {
  fail_usage("{}: {}: found {}, expected {}{}", where, option.name, shown(option, raw),
             describe_expected(option), hint);
}

bool parse_bool_text(std::string_view text, bool& value) {
  if (text == "true" || text == "True" || text == "TRUE")
    value = true;
  else if (text == "false" || text == "False" || text == "FALSE")
    value = false;
  else
    return false;
  return true;
}

template <typename Number>
bool parse_number_text(std::string_view text, Number& value) {
  if (text.size() > 1 && text[0] == '+' && text[1] != '-') text.remove_prefix(1);
  if (text.empty()) return false;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc() && end == text.data() + text.size();
}

bool in_range(const Option& option, double value) {
  if (!std::isfinite(value)) return false;
  if (option.above_min ? value <= option.min : value < option.min) return false;
  return option.below_max ? value < option.max : value <= option.max;
}

void check_choice(const Option& option, const RawValue& raw, const std::string& text,
                  const std::string& where) {
  if (option.choices.empty()) return;
  if (std::find(option.choices.begin(), option.choices.end(), text) != option.choices.end()) return;
  std::vector<std::string> known(option.choices.begin(), option.choices.end());
  for (const RefusedChoice& choice : option.refused) {
    if (choice.value == text) {
      fail_usage("{}: {}: {} is refused, {}; expected {}", where, option.name, text, choice.reason,
                 describe_expected(option));
    }
    known.emplace_back(choice.value);
  }
  const std::string near = nearest(text, known);
  fail_value(option, raw, where, near.empty() ? "" : fmt::format("; did you mean {}?", near));
}

OptionValue parse_list(const Option& option, const RawValue& raw, const std::string& where) {
  std::vector<std::string> items;
  auto add = [&](std::string_view item) {
    if (item.empty() || items.size() >= 4096 || item.find('\0') != item.npos) fail_value(option, raw, where);
    items.emplace_back(item);
    check_choice(option, raw, items.back(), where);
  };
  if (raw.kind == Kind::kList) {
    for (const RawValue& item : raw.items) {
      if (!is_scalar(item)) fail_value(option, raw, where);
      add(trim(item.text));
    }
    return items;
  }
  if (!is_scalar(raw)) fail_value(option, raw, where);
  std::string_view rest = trim(raw.text);
  // A YAML flow sequence on the command line: lora_target=[q_proj, v_proj].
  if (rest.size() >= 2 && rest.front() == '[' && rest.back() == ']')
    rest = trim(rest.substr(1, rest.size() - 2));
  while (!rest.empty()) {
    const size_t comma = rest.find(',');
    std::string_view item = trim(rest.substr(0, comma));
    if (item.size() >= 2 && (item.front() == '"' || item.front() == '\'') && item.back() == item.front())
      item = item.substr(1, item.size() - 2);
    add(item);
    if (comma == rest.npos) break;
    rest = rest.substr(comma + 1);
    if (trim(rest).empty()) fail_value(option, raw, where);
  }
  return items;
}

Json scalar_json(const RawValue& raw) {
  if (raw.kind == Kind::kNull) return nullptr;
  if (raw.kind == Kind::kQuoted) return raw.text;
  bool truth;
  if (parse_bool_text(raw.text, truth)) return truth;
  int64_t integer;
  if (parse_number_text(raw.text, integer)) return integer;
  double number;
  if (parse_number_text(raw.text, number) && std::isfinite(number)) return number;
  return raw.text;
}

OptionValue parse_object(const Option& option, const RawValue& raw, const std::string& where) {
  Json object = Json::object();
  if (raw.kind == Kind::kMap) {
    for (const auto& [key, value] : raw.fields) {
      if (value.kind == Kind::kList || value.kind == Kind::kMap) fail_value(option, raw, where);
      object[key] = scalar_json(value);
    }
  } else if (is_scalar(raw)) {
    if (trim(raw.text).substr(0, 1) != "{") fail_value(option, raw, where);
    try {
      object = parse_json(raw.text, fmt::format("{}: {}", where, option.name), {.max_depth = 8});
    } catch (const Error& error) {
      throw Error(ExitCode::kUsage, error.what());
    }
    for (const auto& [key, value] : object.items())
      if (value.is_structured()) fail_value(option, raw, where);
  } else {
    fail_value(option, raw, where);
  }
  return object.dump();
}

OptionValue parse_typed(const Option& option, const RawValue& raw, const std::string& where) {
  const bool empty = raw.kind == Kind::kNull || (is_scalar(raw) && trim(raw.text).empty());
  if (empty) {
    if (option.nullable()) return std::monostate();
    if (option.type == OptionType::kList) return default_value(option);
    fail_value(option, raw, where);
  }
  switch (option.type) {
    case OptionType::kList:
      return parse_list(option, raw, where);
    case OptionType::kObject:
      return parse_object(option, raw, where);
    default:
      break;
  }
  if (!is_scalar(raw)) fail_value(option, raw, where);
  switch (option.type) {
    case OptionType::kBool: {
      bool value;
      if (!parse_bool_text(raw.text, value)) fail_value(option, raw, where);
      return value;
    }
    case OptionType::kInt: {
      int64_t value;
      for (const ChoiceSpelling& spelling : option.spellings)
        if (trim(raw.text) == spelling.written && parse_number_text(spelling.choice, value)) return value;
      if (!parse_number_text(raw.text, value) || !in_range(option, static_cast<double>(value)))
        fail_value(option, raw, where);
      return value;
    }
    case OptionType::kFloat:
    case OptionType::kIntOrFraction: {
      double value;
      if (!parse_number_text(raw.text, value) || !in_range(option, value)) fail_value(option, raw, where);
      if (option.type == OptionType::kIntOrFraction && value >= 1 && value != std::floor(value))
        fail_value(option, raw, where);
      return value;
    }
    case OptionType::kChoice: {
      std::string text(trim(raw.text));
      bool truth;
      if (raw.kind == Kind::kPlain && parse_bool_text(text, truth)) {
        const bool switches =
            std::find(option.choices.begin(), option.choices.end(), "true") != option.choices.end();
        if (switches) text = truth ? "true" : "false";
        // YAML 1.1 writers turn a bare `no` into false.
        else if (!truth)
          text = "no";
      }
      for (const ChoiceSpelling& spelling : option.spellings)
        if (text == spelling.written) text = spelling.choice;
      check_choice(option, raw, text, where);
      return text;
    }
    default: {
      if (raw.text.find('\0') != raw.text.npos) fail_value(option, raw, where);
      return raw.text;
    }
  }
}

RawValue plain(std::string_view text) {
  RawValue raw;
  raw.kind = text == "null" ? Kind::kNull : Kind::kPlain;
  raw.text = text;
  return raw;
}

// A refused option takes its default and what asks for nothing, and nothing else.
OptionValue parse_refused(const Option& option, const RawValue& raw, const std::string& where) {
  if (option.nullable() && raw.kind == Kind::kNull) return std::monostate();
  if (is_scalar(raw)) {
    try {
      const OptionValue value = parse_typed(option, raw, where);
      if (value == default_value(option)) return value;
      for (std::string_view accepted : option.accepted)
        if (value == parse_typed(option, plain(accepted), where)) return value;
    } catch (const Error&) {
      // Whatever else it is, it is refused below.
    }
  } else if (raw.kind == Kind::kList && raw.items.empty() && option.nullable()) {
    return std::monostate();
  }
  fail_usage("{}: {}: {} is refused: {}", where, option.name, shown(option, raw), option.reason);
}

bool needs_quotes(std::string_view text) {
  if (text.empty() || text != trim(text)) return true;
  for (unsigned char c : text) {
    const bool plain_character =
        std::isalnum(c) || c >= 0x80 || std::string_view("_-./+ ").find(c) != std::string_view::npos;
    if (!plain_character) return true;
  }
  if (text[0] == '-' || text[0] == '.' || text[0] == '+') return true;
  double number;
  if (parse_number_text(text, number) || std::isdigit(static_cast<unsigned char>(text[0]))) return true;
  std::string lower(text);
  for (char& c : lower) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  for (std::string_view word : {"true", "false", "null", "yes", "no", "on", "off", "y", "n"})
    if (lower == word) return true;
  return false;
}

std::string yaml_string(std::string_view text) {
  // A JSON string is a double-quoted YAML scalar.
  return needs_quotes(text) ? Json(text).dump(-1, ' ', false, Json::error_handler_t::replace)
                            : std::string(text);
}

std::string number_yaml(double value) {
  std::string text = fmt::format("{}", value);
  const size_t exponent = text.find('e');
  if (exponent != text.npos) {
    // YAML 1.1 readers take 5e-05 for text and 5.0e-05 for a number.
    if (text.find('.') == text.npos) text.insert(exponent, ".0");
  } else if (text.find('.') == text.npos) {
    text += ".0";
  }
  return text;
}

}  // namespace

OptionValue parse_option_value(const Option& option, const RawValue& raw, const std::string& where) {
  if (option.status == OptionStatus::kRefused) return parse_refused(option, raw, where);
  if (option.status == OptionStatus::kSupported) return parse_typed(option, raw, where);
  // A key without effect is never a reason to stop; what cannot be read counts as the default.
  try {
    return parse_typed(option, raw, where);
  } catch (const Error&) {
    return default_value(option);
  }
}

OptionValue default_value(const Option& option) {
  if (option.nullable()) return std::monostate();
  return parse_typed(option, plain(option.fallback), "default");
}

std::string yaml_text(const Option& option, const OptionValue& value) {
  struct Writer {
    const Option& option;
    std::string operator()(std::monostate) const { return "null"; }
    std::string operator()(bool truth) const { return truth ? "true" : "false"; }
    std::string operator()(int64_t integer) const {
      const std::string text = std::to_string(integer);
      for (const ChoiceSpelling& spelling : option.spellings)
        if (option.type == OptionType::kInt && spelling.choice == text) return std::string(spelling.written);
      return text;
    }
    std::string operator()(double number) const {
      if (option.type == OptionType::kIntOrFraction && number == std::floor(number))
        return std::to_string(static_cast<int64_t>(number));
      return number_yaml(number);
    }
    std::string operator()(const std::string& text) const {
      return option.type == OptionType::kObject ? text : yaml_string(text);
    }
    std::string operator()(const std::vector<std::string>& items) const {
      if (items.size() == 1) return yaml_string(items[0]);
      std::vector<std::string> parts;
      for (const std::string& item : items) parts.push_back(yaml_string(item));
      return fmt::format("[{}]", fmt::join(parts, ", "));
    }
  };
  return std::visit(Writer{option}, value);
}

}  // namespace fettle
