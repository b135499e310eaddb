// Regular expressions of tokenizer files: PCRE2 with JIT, Unicode properties and a step limit.
#pragma once
#include <functional>
#include <memory>
#include <string>
#include <string_view>

namespace fettle {

class Regex {
 public:
  /// Error(kBadInput) starting with `origin` when the pattern does not compile or is longer than 16 KiB.
  Regex(const std::string& pattern, const std::string& origin);
  /// A pattern that matches `text` literally.
  static Regex literal(const std::string& text, const std::string& origin);
  /// Calls found(begin, end) for each non-empty match from left to right. `text` must be valid UTF-8. A
  /// pattern that takes too many steps: Error(kBadInput).
  void for_each_match(std::string_view text, const std::function<void(size_t, size_t)>& found) const;

 private:
  std::shared_ptr<void> code_;
  std::string pattern_, origin_;
};

}  // namespace fettle
