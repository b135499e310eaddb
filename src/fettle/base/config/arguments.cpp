// The words of a command line that concern options.
#include <fmt/format.h>

#include "fettle/base/config/config.h"
#include "fettle/base/error.h"

namespace fettle {
namespace {

bool is_key(std::string_view text) {
  if (text.empty() || !(std::isalpha(static_cast<unsigned char>(text[0])) || text[0] == '_')) return false;
  for (unsigned char c : text)
    if (!std::isalnum(c) && c != '_' && c != '-') return false;
  return true;
}

bool is_truth_word(std::string_view text) {
  return text == "true" || text == "false" || text == "True" || text == "False";
}

}  // namespace

ConfigArguments parse_config_arguments(const std::vector<std::string>& words) {
  ConfigArguments result;
  auto assign = [&](std::string_view word) {
    const size_t equals = word.find('=');
    if (equals == word.npos || !is_key(word.substr(0, equals)))
      fail_usage("command line: expected key=value after --set, found \"{}\"", printable(word));
    const std::string_view key = word.substr(0, equals);
    option_or_fail(key, "command line");
    result.overrides.push_back({std::string(key), std::string(word.substr(equals + 1))});
  };
  for (size_t i = 0; i < words.size(); ++i) {
    const std::string_view word = words[i];
    const bool has_next = i + 1 < words.size();
    if (word == "--set") {
      if (!has_next) fail_usage("command line: --set needs key=value");
      assign(words[++i]);
    } else if (word.starts_with("--set=")) {
      assign(word.substr(6));
    } else if (word.starts_with("--")) {
      const size_t equals = word.find('=');
      const std::string_view key = word.substr(2, equals == word.npos ? word.npos : equals - 2);
      const Option& option = option_or_fail(key, "command line");
      if (equals != word.npos) {
        result.overrides.push_back({std::string(key), std::string(word.substr(equals + 1))});
      } else if (option.type == OptionType::kBool && !(has_next && is_truth_word(words[i + 1]))) {
        result.overrides.push_back({std::string(key), "true"});
      } else {
        if (!has_next) fail_usage("command line: --{} needs a value: {}", key, describe_expected(option));
        result.overrides.push_back({std::string(key), words[++i]});
      }
    } else if (const size_t equals = word.find('='); equals != word.npos && is_key(word.substr(0, equals))) {
      assign(word);
    } else if (word.size() > 1 && word[0] == '-') {
      fail_usage("command line: unknown option {}", printable(word));
    } else if (result.file) {
      fail_usage(
          "command line: unexpected word \"{}\": the configuration file is \"{}\", options are key=value",
          printable(word), printable(result.file->string()));
    } else {
      result.file = std::filesystem::path(word);
    }
  }
  return result;
}

}  // namespace fettle
