// Hand-made scanners for the split patterns of the model families in use. Each gives what a backtracking
// engine gives for its pattern, in one pass.
#include <array>

#include "fettle/text/character_set.h"
#include "fettle/text/matcher.h"
#include "fettle/text/unicode.h"
#include "fettle/text/utf8.h"

namespace fettle {
namespace {

constexpr std::string_view kGpt2 =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";
constexpr std::string_view kQwen2 =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr std::string_view kLlama3 =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr std::string_view kDeepSeek3 =
    R"([!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

/// Reads a text character by character with their classes.
struct Cursor {
  std::string_view text;
  const CharacterTable& table = CharacterTable::get();

  /// Classes of the character at `at`; `length` in bytes. Nothing stands behind the end: class 0, length 0.
  uint16_t look(size_t at, size_t& length) const {
    if (at >= text.size()) {
      length = 0;
      return 0;
    }
    unsigned char byte = static_cast<unsigned char>(text[at]);
    if (byte < 0x80) {
      length = 1;
      return table.ascii(byte);
    }
    uint32_t code = 0;
    length = next_character(text, at, code);
    return table[code];
  }
  /// End of the run of characters whose classes `fits` takes.
  template <typename Fits>
  size_t run(size_t at, Fits fits) const {
    for (size_t length; at < text.size(); at += length)
      if (!fits(look(at, length))) break;
    return at;
  }
  size_t run_of(size_t at, uint16_t mask) const {
    return run(at, [mask](uint16_t classes) { return classes & mask; });
  }
  size_t run_without(size_t at, uint16_t mask) const {
    return run(at, [mask](uint16_t classes) { return !(classes & mask); });
  }
  size_t newlines(size_t at) const {
    while (at < text.size() && (text[at] == '\n' || text[at] == '\r')) ++at;
    return at;
  }
  /// `\s+(?!\S)|\s+` on the run of white space that starts at `at`: its last character is left to the word
  /// behind it.
  size_t white_space(size_t at) const {
    size_t last = at, length;
    size_t end = at;
    while (end < text.size() && (look(end, length) & kSpace)) {
      last = end;
      end += length;
    }
    return end == text.size() || last == at ? end : last;
  }
  /// `\s*[\r\n]+` at `at`: up to the last line break of the run of white space; `at` when it has none.
  size_t line_breaks(size_t at) const {
    size_t end = at;
    for (size_t i = at, length; i < text.size() && (look(i, length) & kSpace); i += length)
      if (text[i] == '\n' || text[i] == '\r') end = i + 1;
    return end;
  }
  /// 's, 't, 're, 've, 'm, 'll, 'd at an apostrophe; 0 when none is there. Without regard to case ſ is an s.
  size_t contraction(size_t at, bool any_case) const {
    auto letter = [&](size_t i) {
      char c = i < text.size() ? text[i] : '\0';
      return any_case && c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
    };
    char first = letter(at + 1), second = letter(at + 2);
    if (first == 's' || first == 't' || first == 'm' || first == 'd') return 2;
    if ((first == 'r' && second == 'e') || (first == 'v' && second == 'e') || (first == 'l' && second == 'l'))
      return 3;
    if (any_case && text.compare(at + 1, 2, "\xC5\xBF") == 0) return 3;
    return 0;
  }
};

class Gpt2Scanner final : public Matcher {
 public:
  bool next(std::string_view text, size_t from, size_t& begin, size_t& end) const override {
    if (from >= text.size()) return false;
    Cursor cursor{text};
    begin = from;
    if (text[from] == '\'')
      if (size_t length = cursor.contraction(from, false)) {
        end = from + length;
        return true;
      }
    size_t at = from + (text[from] == ' '), length;
    uint16_t classes = cursor.look(at, length);
    if (classes & kLetter)
      end = cursor.run_of(at, kLetter);
    else if (classes & kNumber)
      end = cursor.run_of(at, kNumber);
    else if (length && !(classes & kSpace))
      end = cursor.run_without(at, kSpace | kLetter | kNumber);
    else
      end = cursor.white_space(from);
    return true;
  }
};

/// The patterns of Qwen2 and Llama 3, which differ in how many digits make a word.
class TiktokenScanner final : public Matcher {
 public:
  explicit TiktokenScanner(int digits) : digits_(digits) {}
  bool next(std::string_view text, size_t from, size_t& begin, size_t& end) const override {
    if (from >= text.size()) return false;
    Cursor cursor{text};
    begin = from;
    if (text[from] == '\'')
      if (size_t length = cursor.contraction(from, true)) {
        end = from + length;
        return true;
      }
    size_t length, behind;
    uint16_t classes = cursor.look(from, length);
    if (classes & kLetter) {
      end = cursor.run_of(from + length, kLetter);
      return true;
    }
    if (classes & kNumber) {
      end = from + length;
      for (int i = 1; i < digits_ && (cursor.look(end, length) & kNumber); ++i) end += length;
      return true;
    }
    uint16_t next = cursor.look(from + length, behind);
    if ((next & kLetter) && text[from] != '\r' && text[from] != '\n') {
      end = cursor.run_of(from + length + behind, kLetter);
      return true;
    }
    constexpr uint16_t kNotOther = kSpace | kLetter | kNumber;
    if (!(classes & kSpace)) {
      end = cursor.newlines(cursor.run_without(from + length, kNotOther));
    } else if (text[from] == ' ' && behind && !(next & kNotOther)) {
      end = cursor.newlines(cursor.run_without(from + 1 + behind, kNotOther));
    } else {
      end = cursor.line_breaks(from);
      if (end == from) end = cursor.white_space(from);
    }
    return true;
  }

 private:
  int digits_;
};

/// DeepSeek-V3's third pattern; digits and characters of no class stay outside of its matches.
class DeepSeek3Scanner final : public Matcher {
 public:
  bool next(std::string_view text, size_t from, size_t& begin, size_t& end) const override {
    Cursor cursor{text};
    for (size_t at = from, length; at < text.size(); at += length) {
      uint16_t classes = cursor.look(at, length);
      end = match(cursor, at, classes, length);
      if (end > at) {
        begin = at;
        return true;
      }
    }
    return false;
  }

 private:
  static bool ascii_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }

  static size_t match(const Cursor& cursor, size_t at, uint16_t classes, size_t length) {
    std::string_view text = cursor.text;
    constexpr uint16_t kText = kLetter | kMark, kSigns = kPunctuation | kSymbol;
    if (static_cast<unsigned char>(text[at]) < 0x80 && (classes & kSigns)) {
      size_t end = at + 1;
      while (end < text.size() && ascii_letter(text[end])) ++end;
      if (end > at + 1) return end;
    }
    bool newline = text[at] == '\r' || text[at] == '\n';
    size_t behind;
    uint16_t next = cursor.look(at + length, behind);
    if (!newline && !(classes & (kLetter | kSigns)) && (next & kText))
      return cursor.run_of(at + length + behind, kText);
    if (classes & kText) return cursor.run_of(at + length, kText);
    if (classes & kSigns) return cursor.newlines(cursor.run_of(at + length, kSigns));
    if (text[at] == ' ' && (next & kSigns))
      return cursor.newlines(cursor.run_of(at + length + behind, kSigns));
    if (!(classes & kSpace)) return at;
    size_t end = cursor.line_breaks(at);
    return end > at ? end : cursor.white_space(at);
  }
};

/// `X`, `X+`, `X{1,n}` with an optional ` ?` or `\s?` before it and an optional `$` behind it.
class ClassScanner final : public Matcher {
 public:
  static std::shared_ptr<const Matcher> recognise(std::string_view pattern) {
    std::optional<CharacterSet> lead;
    for (std::string_view optional : {" ?", R"(\s?)"})
      if (pattern.starts_with(optional)) {
        std::string_view name = optional.substr(0, optional.size() - 1);
        lead = CharacterSet::parse(name);
        pattern.remove_prefix(optional.size());
        break;
      }
    std::optional<CharacterSet> set = CharacterSet::parse(pattern);
    if (!set) return nullptr;
    size_t most = 1;
    if (pattern.starts_with('+')) {
      most = ~size_t{0};
      pattern.remove_prefix(1);
    } else if (pattern.starts_with("{1,3}")) {
      most = 3;
      pattern.remove_prefix(5);
    }
    bool at_line_end = pattern == "$";
    // A run that need not reach as far as it can, or a lead before it, is left to the regex engine.
    if (at_line_end && (most == 3 || lead)) return nullptr;
    if (!pattern.empty() && !at_line_end) return nullptr;
    return std::make_shared<ClassScanner>(ClassPattern{std::move(lead), std::move(*set), most, at_line_end});
  }
  explicit ClassScanner(ClassPattern pattern) : pattern_(std::move(pattern)) {}
  const ClassPattern* class_pattern() const override { return &pattern_; }

  bool next(std::string_view text, size_t from, size_t& begin, size_t& end) const override {
    for (begin = from; begin < text.size();) {
      uint32_t code = 0;
      size_t length = next_character(text, begin, code);
      size_t run = 0;
      if (pattern_.lead && pattern_.lead->contains(code)) run = measure(text, begin + length, end);
      if (run == 0) run = measure(text, begin, end);
      if (run > 0 && !pattern_.at_line_end) return true;
      if (run > 0 && to_line_end(text, begin, end)) return true;
      // Without a line end behind it no later start of the same run can match either.
      begin = run > 0 && pattern_.most > 1 ? end : begin + length;
    }
    return false;
  }

 private:
  size_t measure(std::string_view text, size_t at, size_t& end) const {
    size_t count = 0;
    for (end = at; count < pattern_.most && end < text.size(); ++count) {
      uint32_t code = 0;
      size_t length = next_character(text, end, code);
      if (!pattern_.set.contains(code)) break;
      end += length;
    }
    return count;
  }
  // Shortens a run to the last place that ends a line.
  static bool to_line_end(std::string_view text, size_t begin, size_t& end) {
    for (size_t at = end; at > begin; --at)
      if (at == text.size() || text[at] == '\n') {
        end = at;
        return true;
      }
    return false;
  }

  ClassPattern pattern_;
};

}  // namespace

std::shared_ptr<const Matcher> gpt2_matcher() {
  return std::make_shared<Gpt2Scanner>();
}

std::shared_ptr<const Matcher> known_scanner(std::string_view pattern) {
  if (pattern == kGpt2) return gpt2_matcher();
  if (pattern == kQwen2) return std::make_shared<TiktokenScanner>(1);
  if (pattern == kLlama3) return std::make_shared<TiktokenScanner>(3);
  if (pattern == kDeepSeek3) return std::make_shared<DeepSeek3Scanner>();
  return ClassScanner::recognise(pattern);
}

}  // namespace fettle
