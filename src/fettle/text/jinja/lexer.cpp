#include "fettle/text/jinja/lexer.h"

#include <fmt/format.h>

#include <algorithm>

#include "fettle/base/error.h"
#include "fettle/text/jinja/python_text.h"

namespace fettle::jinja {
namespace {

constexpr size_t kMaxTokens = 2'000'000;

/// "\r\n" and "\r" become "\n"; one final newline goes.
std::string normalise(std::string_view source) {
  std::string out;
  out.reserve(source.size());
  for (size_t i = 0; i < source.size(); ++i) {
    if (source[i] != '\r') {
      out += source[i];
      continue;
    }
    out += '\n';
    if (i + 1 < source.size() && source[i + 1] == '\n') ++i;
  }
  if (!out.empty() && out.back() == '\n') out.pop_back();
  return out;
}

class Lexer {
 public:
  Lexer(std::string_view source, const std::string& origin) : source_(normalise(source)), origin_(origin) {}

  std::vector<Token> run() {
    while (pos_ < source_.size()) text_and_tag();
    add(TokenKind::kEnd, "", pos_);
    return std::move(tokens_);
  }

 private:
  std::string_view rest(size_t from) const {
    return std::string_view(source_).substr(std::min(from, source_.size()));
  }
  bool starts(size_t at, std::string_view what) const { return rest(at).substr(0, what.size()) == what; }

  /// Line and column of a byte; called with growing positions, so the scan continues where it stopped.
  Position position(size_t byte) {
    if (byte < scanned_) scanned_ = 0, here_ = {};
    for (; scanned_ < byte && scanned_ < source_.size(); ++scanned_) {
      unsigned char c = static_cast<unsigned char>(source_[scanned_]);
      if (c == '\n')
        ++here_.line, here_.column = 1;
      else if ((c & 0xC0) != 0x80)
        ++here_.column;
    }
    return here_;
  }

  [[noreturn]] void fail(size_t at, const std::string& what) { fail_at(origin_, position(at), what); }

  void add(TokenKind kind, std::string text, size_t at) {
    if (tokens_.size() >= kMaxTokens) fail(at, "the template has too many tags");
    tokens_.push_back({kind, std::move(text), position(at)});
  }

  size_t skip_space(size_t at) const {
    while (at < source_.size()) {
      size_t next = at;
      if (!is_space(next_char(source_, next))) break;
      at = next;
    }
    return at;
  }

  /// Text up to a tag, less what the tag's sign or lstrip_blocks takes from its end.
  std::string_view trimmed(size_t begin, size_t end, char sign, bool is_print) const {
    std::string_view text = std::string_view(source_).substr(begin, end - begin);
    if (sign == '-') return strip(text, nullptr, false, true);
    if (sign == '+' || is_print) return text;
    size_t line = text.rfind('\n');
    line = line == text.npos ? 0 : line + 1;
    if (line == 0 && !line_starting_) return text;
    std::string_view indent = text.substr(line);
    return !indent.empty() && strip(indent, nullptr, true, false).empty() ? text.substr(0, line) : text;
  }

  void move_to(size_t pos) {
    if (pos > pos_) line_starting_ = source_[pos - 1] == '\n';
    pos_ = pos;
  }

  void text_and_tag() {
    size_t begin = pos_, tag = begin;
    for (;; ++tag) {
      tag = source_.find('{', tag);
      if (tag == std::string::npos) {
        add(TokenKind::kText, source_.substr(begin), begin);
        pos_ = source_.size();
        return;
      }
      char kind = tag + 1 < source_.size() ? source_[tag + 1] : '\0';
      if (kind == '%' || kind == '#' || kind == '{') break;
    }
    bool is_print = source_[tag + 1] == '{';
    char sign = tag + 2 < source_.size() ? source_[tag + 2] : '\0';
    if (sign != '-' && sign != '+') sign = '\0';
    std::string_view text = trimmed(begin, tag, sign, is_print);
    if (!text.empty()) add(TokenKind::kText, std::string(text), begin);
    size_t inside = tag + 2 + (sign ? 1 : 0);
    if (source_[tag + 1] == '#') return comment(tag, inside);
    if (!is_print) {
      size_t raw = skip_space(inside);
      if (starts(raw, "raw")) {
        size_t end = skip_space(raw + 3);
        if (starts(end, "%}")) return raw_block(tag, end + 2);
        if (starts(end, "-%}")) return raw_block(tag, skip_space(end + 3));
      }
    }
    add(is_print ? TokenKind::kPrintBegin : TokenKind::kBlockBegin, "", tag);
    pos_ = inside;
    if (is_print)
      tag_body("}}", TokenKind::kPrintEnd, tag);
    else
      tag_body("%}", TokenKind::kBlockEnd, tag);
  }

  /// Moves past the newline that trim_blocks removes, or all whitespace after `-`.
  void after_tag(size_t end, char sign, bool trims_newline) {
    if (sign == '-')
      end = skip_space(end);
    else if (sign != '+' && trims_newline && end < source_.size() && source_[end] == '\n')
      ++end;
    move_to(end);
  }

  void comment(size_t tag, size_t inside) {
    size_t end = source_.find("#}", inside);
    if (end == std::string::npos) fail(tag, "this comment {# is never closed by #}");
    char sign =
        end > inside && (source_[end - 1] == '-' || source_[end - 1] == '+') ? source_[end - 1] : '\0';
    after_tag(end + 2, sign, true);
  }

  void raw_block(size_t tag, size_t begin) {
    line_starting_ = begin > 0 && source_[begin - 1] == '\n';
    for (size_t at = begin;; ++at) {
      at = source_.find("{%", at);
      if (at == std::string::npos) fail(tag, "{% raw %} is never closed by {% endraw %}");
      size_t word = at + 2;
      char sign = word < source_.size() ? source_[word] : '\0';
      if (sign == '-' || sign == '+')
        ++word;
      else
        sign = '\0';
      word = skip_space(word);
      if (!starts(word, "endraw")) continue;
      size_t end = skip_space(word + 6);
      char end_sign = '\0';
      if (end < source_.size() && (source_[end] == '-' || source_[end] == '+')) end_sign = source_[end++];
      if (!starts(end, "%}")) continue;
      std::string_view text = trimmed(begin, at, sign, false);
      if (!text.empty()) add(TokenKind::kText, std::string(text), begin);
      pos_ = at;
      after_tag(end + 2, end_sign, true);
      return;
    }
  }

  void tag_body(std::string_view close, TokenKind close_kind, size_t tag) {
    std::string braces;
    for (;;) {
      pos_ = skip_space(pos_);
      if (pos_ >= source_.size())
        fail(tag, fmt::format("this tag {} is never closed by {}", close == "}}" ? "{{" : "{%", close));
      if (braces.empty()) {
        char c = source_[pos_];
        bool signed_end =
            (c == '-' || (c == '+' && close_kind == TokenKind::kBlockEnd)) && starts(pos_ + 1, close);
        if (signed_end || starts(pos_, close)) {
          add(close_kind, "", pos_);
          after_tag(pos_ + close.size() + (signed_end ? 1 : 0), signed_end ? c : '\0',
                    close_kind == TokenKind::kBlockEnd);
          return;
        }
      }
      token(braces);
    }
  }

  static bool is_digit(char c) { return c >= '0' && c <= '9'; }
  static bool is_word(char32_t c) { return c == '_' || is_alpha(c) || is_numeric(c) || is_decimal(c); }

  void token(std::string& braces) {
    size_t begin = pos_;
    char c = source_[pos_];
    if (is_digit(c)) return number();
    if (c == '"' || c == '\'') return string(c);
    size_t end = pos_;
    while (end < source_.size()) {
      size_t next = end;
      char32_t letter = next_char(source_, next);
      // Combining marks continue an identifier, as \w and Python's identifiers have it.
      if (!is_word(letter) && !(end > begin && letter >= 0x300 && letter <= 0x36F)) break;
      end = next;
    }
    if (end > begin) {
      pos_ = end;
      return add(TokenKind::kName, source_.substr(begin, end - begin), begin);
    }
    static constexpr std::string_view kOperators[] = {"//", "**", "==", "!=", ">=", "<=", "+", "-", "/",
                                                      "*",  "%",  "~",  "[",  "]",  "(",  ")", "{", "}",
                                                      ">",  "<",  "=",  ".",  ":",  "|",  ",", ";"};
    for (std::string_view op : kOperators) {
      if (!starts(pos_, op)) continue;
      if (op == "(" || op == "[" || op == "{") braces += op == "(" ? ')' : op == "[" ? ']' : '}';
      if (op == ")" || op == "]" || op == "}") {
        if (braces.empty()) fail(begin, fmt::format("unexpected '{}'", op));
        if (braces.back() != op[0])
          fail(begin, fmt::format("unexpected '{}', expected '{}'", op, braces.back()));
        braces.pop_back();
      }
      pos_ += op.size();
      return add(TokenKind::kOperator, std::string(op), begin);
    }
    size_t next = pos_;
    next_char(source_, next);
    fail(begin, fmt::format("unexpected character {}", string_repr(source_.substr(begin, next - begin))));
  }

  size_t digits(size_t at) const {
    while (at < source_.size() && (is_digit(source_[at]) || (source_[at] == '_' && at + 1 < source_.size() &&
                                                             is_digit(source_[at + 1]))))
      ++at;
    return at;
  }

  void number() {
    size_t begin = pos_, end = pos_;
    auto lower = [&](size_t at) {
      return at < source_.size() ? static_cast<char>(source_[at] | 0x20) : '\0';
    };
    auto accept = [&](auto&& good) {
      size_t at = end + 2;
      while (at < source_.size() &&
             (good(source_[at]) || (source_[at] == '_' && at + 1 < source_.size() && good(source_[at + 1]))))
        ++at;
      return at;
    };
    size_t prefixed = 0;
    if (source_[begin] == '0') {
      if (lower(begin + 1) == 'x')
        prefixed = accept([](char c) { return std::isxdigit(static_cast<unsigned char>(c)); });
      if (lower(begin + 1) == 'o') prefixed = accept([](char c) { return c >= '0' && c <= '7'; });
      if (lower(begin + 1) == 'b') prefixed = accept([](char c) { return c == '0' || c == '1'; });
    }
    bool is_float = false;
    if (prefixed > begin + 2) {
      end = prefixed;
    } else {
      end = digits(begin);
      bool after_dot = begin > 0 && source_[begin - 1] == '.';
      if (!after_dot && end + 1 < source_.size() && source_[end] == '.' && is_digit(source_[end + 1])) {
        end = digits(end + 1);
        is_float = true;
      }
      if (!after_dot && lower(end) == 'e') {
        size_t exponent = end + 1;
        if (exponent < source_.size() && (source_[exponent] == '+' || source_[exponent] == '-')) ++exponent;
        if (exponent < source_.size() && is_digit(source_[exponent])) {
          end = digits(exponent);
          is_float = true;
        }
      }
    }
    std::string text = source_.substr(begin, end - begin);
    std::erase(text, '_');
    pos_ = end;
    add(is_float ? TokenKind::kFloat : TokenKind::kInteger, std::move(text), begin);
  }

  void string(char quote) {
    size_t begin = pos_, at = pos_ + 1;
    std::string out;
    for (;; ++at) {
      if (at >= source_.size()) fail(begin, "this text literal is never closed");
      char c = source_[at];
      if (c == quote) break;
      if (c != '\\') {
        out += c;
        continue;
      }
      if (++at >= source_.size()) fail(begin, "this text literal is never closed");
      escape(out, at, begin);
    }
    pos_ = at + 1;
    add(TokenKind::kString, std::move(out), begin);
  }

  /// Decodes the escape whose letter stands at `at`; leaves `at` on its last byte.
  void escape(std::string& out, size_t& at, size_t begin) {
    char c = source_[at];
    auto hex = [&](int count) {
      char32_t value = 0;
      for (int i = 0; i < count; ++i) {
        ++at;
        unsigned char digit = at < source_.size() ? static_cast<unsigned char>(source_[at]) : 0;
        if (!std::isxdigit(digit)) fail(begin, fmt::format("truncated \\{} escape", c));
        value = value * 16 + static_cast<char32_t>(digit <= '9' ? digit - '0' : (digit | 0x20) - 'a' + 10);
      }
      return value;
    };
    switch (c) {
      case 'n':
        out += '\n';
        return;
      case 't':
        out += '\t';
        return;
      case 'r':
        out += '\r';
        return;
      case 'a':
        out += '\a';
        return;
      case 'b':
        out += '\b';
        return;
      case 'f':
        out += '\f';
        return;
      case 'v':
        out += '\v';
        return;
      case '\\':
      case '\'':
      case '"':
        out += c;
        return;
      case '\n':
        return;
      case 'x':
        return append_char(out, hex(2));
      case 'u':
      case 'U': {
        char32_t value = hex(c == 'u' ? 4 : 8);
        if (value >= 0xD800 && value < 0xDC00 && starts(at + 1, "\\u")) {
          at += 2;
          char32_t low = hex(4);
          if (low >= 0xDC00 && low < 0xE000) value = 0x10000 + ((value - 0xD800) << 10) + (low - 0xDC00);
        }
        if (value > 0x10FFFF || (value >= 0xD800 && value < 0xE000))
          fail(begin, "an escape names no Unicode character");
        return append_char(out, value);
      }
      case 'N':
        fail(begin, "\\N{name} escapes are not supported; write the character itself");
      default:
        break;
    }
    if (c >= '0' && c <= '7') {
      char32_t value = 0;
      size_t end = std::min(at + 3, source_.size());
      for (; at < end && source_[at] >= '0' && source_[at] <= '7'; ++at)
        value = value * 8 + static_cast<char32_t>(source_[at] - '0');
      --at;
      return append_char(out, value);
    }
    out += '\\';
    out += c;
  }

  const std::string source_;
  const std::string& origin_;
  std::vector<Token> tokens_;
  size_t pos_ = 0, scanned_ = 0;
  Position here_;
  bool line_starting_ = true;
};

}  // namespace

std::vector<Token> tokenize(std::string_view source, const std::string& origin) {
  return Lexer(source, origin).run();
}

void fail_at(const std::string& origin, Position at, const std::string& what) {
  fail_input("{}:{}:{}: {}", origin, at.line, at.column, what);
}

}  // namespace fettle::jinja
