#include "fettle/text/matcher.h"

#include <nlohmann/json.hpp>

#include "fettle/base/error.h"
#include "fettle/text/component.h"
#include "fettle/text/regex.h"
#include "fettle/text/unicode.h"
#include "fettle/text/utf8.h"

namespace fettle {
namespace {

class RegexMatcher final : public Matcher {
 public:
  RegexMatcher(const std::string& pattern, const std::string& origin) : regex_(pattern, origin) {}
  bool next(std::string_view text, size_t from, size_t& begin, size_t& end) const override {
    return regex_.find(text, from, begin, end);
  }

 private:
  Regex regex_;
};

class LiteralMatcher final : public Matcher {
 public:
  explicit LiteralMatcher(std::string text) : text_(std::move(text)) {}
  bool next(std::string_view text, size_t from, size_t& begin, size_t& end) const override {
    begin = text.find(text_, from);
    end = begin + text_.size();
    return begin != text.npos;
  }

 private:
  std::string text_;
};

class ClassMatcher final : public Matcher {
 public:
  ClassMatcher(uint16_t mask, bool run)
      : mask_(mask),
        run_(run),
        pattern_{std::nullopt, CharacterSet::of_classes(mask), run ? ~size_t{0} : 1, false} {}
  const ClassPattern* class_pattern() const override { return &pattern_; }
  bool next(std::string_view text, size_t from, size_t& begin, size_t& end) const override {
    size_t length;
    for (begin = from; begin < text.size() && !fits(text, begin, length);) begin += length;
    if (begin >= text.size()) return false;
    end = begin + length;
    while (run_ && end < text.size() && fits(text, end, length)) end += length;
    return true;
  }

 private:
  bool fits(std::string_view text, size_t at, size_t& length) const {
    uint32_t code = 0;
    length = next_character(text, at, code);
    return table_[code] & mask_;
  }
  const CharacterTable& table_ = CharacterTable::get();
  uint16_t mask_;
  bool run_;
  ClassPattern pattern_;
};

}  // namespace

std::shared_ptr<const Matcher> regex_matcher(const std::string& pattern, const std::string& origin) {
  if (auto scanner = known_scanner(pattern)) return scanner;
  return std::make_shared<RegexMatcher>(pattern, origin);
}

std::shared_ptr<const Matcher> literal_matcher(std::string text) {
  return std::make_shared<LiteralMatcher>(std::move(text));
}

std::shared_ptr<const Matcher> class_matcher(uint16_t mask, bool run) {
  return std::make_shared<ClassMatcher>(mask, run);
}

std::shared_ptr<const Matcher> make_matcher(const Json& component, const std::string& origin) {
  if (component.contains("pattern") && component["pattern"].is_object()) {
    const Json& pattern = component["pattern"];
    if (pattern.contains("Regex") && pattern["Regex"].is_string())
      return regex_matcher(pattern["Regex"].get<std::string>(), origin);
    if (pattern.contains("String") && pattern["String"].is_string()) {
      if (pattern["String"].get_ref<const std::string&>().empty())
        fail_input("{}: the pattern of {} is empty", origin, printable(type_of(component, origin, "")));
      return literal_matcher(pattern["String"].get<std::string>());
    }
  }
  fail_input("{}: {} needs a pattern: {{\"Regex\"}} or {{\"String\"}}", origin,
             printable(type_of(component, origin, "a component")));
}

}  // namespace fettle
