#include "fettle/data/forms/pattern.h"

#include <nlohmann/json.hpp>

#include "fettle/base/error.h"
#include "fettle/data/forms/fields.h"

namespace fettle {

PromptPattern::PromptPattern(const std::string& pattern, const std::string& trained_from)
    : text_(trained_from.empty() ? pattern : pattern + "\n" + trained_from) {
  size_t border = trained_from.empty() ? 0 : pattern.find(trained_from);
  if (border == pattern.npos)
    fail_usage("prompt_pattern_trained_from: \"{}\" does not stand in prompt_pattern",
               printable(trained_from));
  std::string text;
  bool any_field = false;
  auto flush = [&](size_t at) {
    if (!text.empty()) (at <= border ? read_ : learned_).push_back({false, text});
    text.clear();
  };
  for (size_t i = 0; i < pattern.size(); ++i) {
    if (i == border) flush(i);
    char c = pattern[i];
    if ((c == '{' || c == '}') && i + 1 < pattern.size() && pattern[i + 1] == c) {
      text += c;
      ++i;
    } else if (c == '{') {
      size_t end = pattern.find('}', i);
      if (end == pattern.npos || end == i + 1)
        fail_usage("prompt_pattern: at character {}: expected {{field}}; a brace itself is written twice",
                   i + 1);
      flush(i);
      (i < border ? read_ : learned_).push_back({true, pattern.substr(i + 1, end - i - 1)});
      any_field = true;
      i = end;
    } else if (c == '}') {
      fail_usage("prompt_pattern: a single }} at character {}; a brace itself is written twice", i + 1);
    } else {
      text += c;
    }
  }
  flush(pattern.size() + (border == pattern.size() ? 0 : 1));
  if (!any_field) fail_usage("prompt_pattern: \"{}\" names no {{field}} of the rows", printable(pattern));
}

PromptPattern::Filled PromptPattern::fill(const OrderedJson& row) const {
  auto join = [&](const std::vector<Part>& parts) {
    std::string out;
    for (const Part& part : parts) out += part.field ? required_text_field(row, part.text) : part.text;
    return out;
  };
  return {join(read_), join(learned_)};
}

}  // namespace fettle
