#include "fettle/text/character_set.h"

#include <array>

#include "fettle/text/unicode.h"
#include "fettle/text/utf8.h"

namespace fettle {

void CharacterSet::add(uint32_t first, uint32_t last) {
  for (uint32_t code = first; code <= last; ++code) bits_[code >> 6] |= uint64_t{1} << (code & 63);
}

CharacterSet CharacterSet::of_classes(uint16_t mask) {
  CharacterSet set;
  const CharacterTable& table = CharacterTable::get();
  for (uint32_t code = 0; code < 0x110000; ++code)
    if (table[code] & mask) set.add(code, code);
  return set;
}

bool CharacterSet::add_class(std::string_view name, bool negated) {
  struct Named {
    std::string_view name;
    uint16_t mask;
  };
  constexpr std::array<Named, 6> kNamed = {
      {{"L", kLetter}, {"N", kNumber}, {"M", kMark}, {"P", kPunctuation}, {"S", kSymbol}, {"s", kSpace}}};
  for (const Named& named : kNamed) {
    if (named.name != name) continue;
    CharacterSet members = of_classes(named.mask);
    if (negated) members.invert();
    for (size_t i = 0; i < bits_.size(); ++i) bits_[i] |= members.bits_[i];
    return true;
  }
  return false;
}

// Behind a backslash: a class, which is added, or a literal.
bool CharacterSet::add_escape(std::string_view& pattern, std::optional<uint32_t>& literal) {
  if (pattern.empty()) return false;
  char c = pattern[0];
  pattern.remove_prefix(1);
  if (c == 'n' || c == 'r' || c == 't') {
    literal = c == 'n' ? '\n' : c == 'r' ? '\r' : '\t';
    return true;
  }
  if (c == 's' || c == 'S') return add_class("s", c == 'S');
  if (c == 'p' || c == 'P') {
    size_t end = pattern.find('}');
    if (!pattern.starts_with('{') || end == pattern.npos) return false;
    std::string_view name = pattern.substr(1, end - 1);
    pattern.remove_prefix(end + 1);
    return add_class(name, c == 'P');
  }
  if (static_cast<unsigned char>(c) < 0x80 && !(c >= '0' && c <= '9') && !(c >= 'A' && c <= 'Z') &&
      !(c >= 'a' && c <= 'z')) {
    literal = static_cast<unsigned char>(c);
    return true;
  }
  return false;
}

void CharacterSet::invert() {
  for (uint64_t& word : bits_) word = ~word;
}

std::optional<CharacterSet> CharacterSet::parse(std::string_view& pattern) {
  CharacterSet set;
  std::string_view rest = pattern;
  auto take = [&](uint32_t& code) {
    int length = rest.empty() ? 0 : utf8_length(rest, 0, code);
    rest.remove_prefix(static_cast<size_t>(length));
    return length > 0;
  };
  uint32_t code = 0;
  std::optional<uint32_t> literal;
  if (rest.starts_with('\\')) {
    rest.remove_prefix(1);
    if (!set.add_escape(rest, literal)) return std::nullopt;
    if (literal) set.add(*literal, *literal);
    pattern = rest;
    return set;
  }
  if (!rest.starts_with('[')) {
    if (!take(code) || (code < 0x80 && std::string_view(".^$|()?*+{}]").find(static_cast<char>(code)) !=
                                           std::string_view::npos))
      return std::nullopt;
    set.add(code, code);
    pattern = rest;
    return set;
  }
  rest.remove_prefix(1);
  bool negated = rest.starts_with('^');
  if (negated) rest.remove_prefix(1);
  for (bool first = true;; first = false) {
    if (rest.starts_with(']') && !first) break;
    // Nested brackets, set operations and leading ] mean different things to different engines.
    if (rest.empty() || rest.starts_with('[') || rest.starts_with(']') || rest.starts_with("&&"))
      return std::nullopt;
    literal.reset();
    if (rest.starts_with('\\')) {
      rest.remove_prefix(1);
      if (!set.add_escape(rest, literal)) return std::nullopt;
      if (!literal) continue;
    } else if (take(code)) {
      literal = code;
    } else {
      return std::nullopt;
    }
    uint32_t last = *literal;
    if (rest.size() > 1 && rest[0] == '-' && rest[1] != ']') {
      rest.remove_prefix(1);
      if (rest.starts_with('\\') || rest.starts_with('[') || !take(last) || last < *literal)
        return std::nullopt;
    }
    set.add(*literal, last);
  }
  rest.remove_prefix(1);
  if (negated) set.invert();
  pattern = rest;
  return set;
}

}  // namespace fettle
