#include "fettle/text/added_tokens.h"

#include <utf8proc.h>

#include <algorithm>

#include "fettle/text/utf8.h"

namespace fettle {
namespace {

// \w of Rust's regex crate: alphabetic, marks, decimal digits, connectors, joiners.
bool is_word(uint32_t code) {
  switch (utf8proc_category(static_cast<utf8proc_int32_t>(code))) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_MC:
    case UTF8PROC_CATEGORY_ME:
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_PC:
      return true;
    default:
      return code == 0x200C || code == 0x200D;
  }
}

bool is_space(uint32_t c) {
  return (c >= 9 && c <= 13) || c == 0x20 || c == 0x85 || c == 0xA0 || c == 0x1680 ||
         (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F || c == 0x205F ||
         c == 0x3000;
}

size_t character_before(std::string_view text, size_t at) {
  size_t begin = at - 1;
  while (begin > 0 && (static_cast<unsigned char>(text[begin]) & 0xC0) == 0x80) --begin;
  return begin;
}

template <bool (*kind)(uint32_t)>
bool before_is(std::string_view text, size_t at) {
  uint32_t code;
  return at > 0 && utf8_length(text, character_before(text, at), code) && kind(code);
}
template <bool (*kind)(uint32_t)>
bool after_is(std::string_view text, size_t at) {
  uint32_t code;
  return at < text.size() && utf8_length(text, at, code) && kind(code);
}

}  // namespace

void AddedTokenFinder::add(const AddedToken& token) {
  std::vector<AddedToken>& list = by_first_byte_[token.content[0]];
  auto place = std::find_if(list.begin(), list.end(), [&](const AddedToken& other) {
    return other.content.size() < token.content.size();
  });
  list.insert(place, token);
}

void AddedTokenFinder::split(std::string_view input, const std::function<void(std::string_view)>& text,
                             const std::function<void(TokenId)>& token) const {
  size_t done = 0;
  for (size_t at = 0; at < input.size();) {
    const AddedToken* match = nullptr;
    if (auto bucket = by_first_byte_.find(input[at]); bucket != by_first_byte_.end())
      for (const AddedToken& candidate : bucket->second)
        if (input.compare(at, candidate.content.size(), candidate.content) == 0) {
          match = &candidate;
          break;
        }
    if (!match) {
      ++at;
      continue;
    }
    size_t begin = at, end = at + match->content.size();
    if (match->single_word && (before_is<is_word>(input, begin) || after_is<is_word>(input, end))) {
      at = end;  // as the automaton, which goes on behind the match
      continue;
    }
    if (match->lstrip)
      while (begin > done && before_is<is_space>(input, begin)) begin = character_before(input, begin);
    if (match->rstrip) {
      uint32_t code;
      while (after_is<is_space>(input, end)) end += static_cast<size_t>(utf8_length(input, end, code));
    }
    if (begin > done) text(input.substr(done, begin - done));
    token(match->id);
    done = at = end;
  }
  if (done < input.size()) text(input.substr(done));
}

}  // namespace fettle
