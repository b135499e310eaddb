#include "fettle/base/json.h"

#include <nlohmann/json.hpp>
#include <unordered_set>

#include "fettle/base/error.h"
#include "fettle/base/file.h"

namespace fettle {
namespace {

std::string line_and_column(std::string_view text, size_t byte) {
  size_t line = 1, column = 1;
  for (size_t i = 0; i + 1 < byte && i < text.size(); ++i) {
    if (text[i] == '\n')
      ++line, column = 1;
    else
      ++column;
  }
  return fmt::format("line {}, column {}", line, column);
}

template <typename J>
J parse(std::string_view text, const std::string& origin, const JsonLimits& limits) {
  std::vector<std::unordered_set<std::string>> keys;  // only filled when duplicates are refused
  auto watch = [&](int depth, typename J::parse_event_t event, J& value) {
    if (depth > limits.max_depth)
      fail_input("{}: JSON nested deeper than {} levels; flatten the file", origin, limits.max_depth);
    if (!limits.reject_duplicate_keys) return true;
    using Event = typename J::parse_event_t;
    if (event == Event::object_start) keys.emplace_back();
    if (event == Event::object_end) keys.pop_back();
    if (event == Event::key) {
      const std::string& key = value.template get_ref<const std::string&>();
      if (!keys.back().insert(key).second) fail_input("{}: duplicate key \"{}\"", origin, printable(key));
    }
    return true;
  };
  // nlohmann takes a NUL for the end of the text and would accept anything behind it.
  if (size_t nul = text.find('\0'); nul != text.npos)
    fail_input("{}: byte {} is NUL, which JSON cannot hold", origin, nul);
  try {
    // nlohmann's parser is iterative, so depth is a matter of memory only; the callback bounds it.
    return J::parse(text, watch);
  } catch (const nlohmann::json::parse_error& error) {
    std::string_view what = error.what();
    size_t cut = what.rfind(": ");
    std::string_view cause = what.find("syntax error") != what.npos ? what.substr(what.find("syntax error"))
                             : cut == what.npos                     ? what
                                                                    : what.substr(cut + 2);
    fail_input("{}: invalid JSON at {}: {}", origin, line_and_column(text, error.byte),
               printable(cause, 200));
  } catch (const nlohmann::json::out_of_range& error) {
    std::string_view what = error.what();  // a number such as 1e999
    fail_input("{}: invalid JSON: {}", origin, printable(what.substr(what.rfind("] ") + 2), 200));
  }
}

}  // namespace

Json parse_json(std::string_view text, const std::string& origin, const JsonLimits& limits) {
  return parse<Json>(text, origin, limits);
}
OrderedJson parse_ordered_json(std::string_view text, const std::string& origin, const JsonLimits& limits) {
  return parse<OrderedJson>(text, origin, limits);
}
Json read_json(const std::filesystem::path& path, const JsonLimits& limits) {
  return parse_json(read_file(path), path.string(), limits);
}

}  // namespace fettle
