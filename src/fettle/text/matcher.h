// What finds the next match of a Split or Replace pattern: a hand-made scanner where the pattern is known,
// PCRE2 where it is not.
#pragma once
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "fettle/base/json.h"
#include "fettle/text/character_set.h"

namespace fettle {

/// One character of a set, or as many as there are up to `most`, with an optional one of `lead` before them.
struct ClassPattern {
  std::optional<CharacterSet> lead;
  CharacterSet set;
  size_t most = 1;
  bool at_line_end = false;  ///< `$` behind it; only with `most` 1 or without limit, and without lead
};

class Matcher {
 public:
  virtual ~Matcher() = default;
  /// First non-empty match [begin, end) at or behind `from`; false when there is none. `text` is UTF-8.
  virtual bool next(std::string_view text, size_t from, size_t& begin, size_t& end) const = 0;
  /// What it looks for, when it is as simple as that.
  virtual const ClassPattern* class_pattern() const { return nullptr; }
};

/// From a component's "pattern": {"Regex": …} or {"String": …}. Error(kBadInput) for a regex that neither
/// knows.
std::shared_ptr<const Matcher> make_matcher(const Json& component, const std::string& origin);
/// A regular expression in the syntax of Oniguruma.
std::shared_ptr<const Matcher> regex_matcher(const std::string& pattern, const std::string& origin);
/// A fixed, non-empty text.
std::shared_ptr<const Matcher> literal_matcher(std::string text);
/// One character of the classes in `mask` (CharacterClass); with `run`, as many as there are.
std::shared_ptr<const Matcher> class_matcher(uint16_t mask, bool run = false);

/// GPT-2's pattern, the default of ByteLevel.
std::shared_ptr<const Matcher> gpt2_matcher();

/// The scanner for `pattern`; null when only a regex engine can tell. Exposed for the tests, which compare
/// both.
std::shared_ptr<const Matcher> known_scanner(std::string_view pattern);

}  // namespace fettle
