// Regular expressions of tokenizer files: PCRE2 with JIT, Unicode properties and a step limit.
#pragma once
#include <memory>
#include <string>
#include <string_view>

namespace fettle {

class Regex {
 public:
  /// `pattern` in the syntax of Oniguruma. Error(kBadInput) starting with `origin` when the pattern does not
  /// compile or is longer than 16 KiB.
  Regex(const std::string& pattern, const std::string& origin);
  /// First non-empty match [begin, end) at or behind `from`; false when there is none. `text` must be valid
  /// UTF-8. A pattern that takes too many steps: Error(kBadInput).
  bool find(std::string_view text, size_t from, size_t& begin, size_t& end) const;

 private:
  std::shared_ptr<void> code_;
  std::string pattern_, origin_;
};

}  // namespace fettle
