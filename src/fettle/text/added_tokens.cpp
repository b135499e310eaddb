#include "fettle/text/added_tokens.h"

#include "fettle/text/unicode.h"
#include "fettle/text/utf8.h"

namespace fettle {
namespace {

size_t character_before(std::string_view text, size_t at) {
  size_t begin = at - 1;
  while (begin > 0 && (static_cast<unsigned char>(text[begin]) & 0xC0) == 0x80) --begin;
  return begin;
}

bool before_is(CharacterClass kind, std::string_view text, size_t at) {
  uint32_t code;
  return at > 0 && utf8_length(text, character_before(text, at), code) &&
         (CharacterTable::get()[code] & kind);
}
bool after_is(CharacterClass kind, std::string_view text, size_t at) {
  uint32_t code;
  return at < text.size() && utf8_length(text, at, code) && (CharacterTable::get()[code] & kind);
}

}  // namespace

void AddedTokenFinder::add(const AddedToken& token) {
  const unsigned char root = static_cast<unsigned char>(token.content[0]);
  one_root_ = tokens_.empty() || one_root_ == root ? root : -1;
  uint32_t* place = &roots_[root];
  uint32_t node = kNone;
  for (size_t i = 0; i < token.content.size(); ++i) {
    if (i > 0) place = &nodes_[node].child;
    while (*place != kNone && nodes_[*place].byte != token.content[i]) place = &nodes_[*place].sibling;
    node = *place;
    if (node == kNone) {
      node = *place = static_cast<uint32_t>(nodes_.size());
      nodes_.push_back({.byte = token.content[i]});  // `place` is not used again: it may have moved
    }
  }
  if (nodes_[node].token == kNone) {
    nodes_[node].token = static_cast<uint32_t>(tokens_.size());
    tokens_.push_back(token);
  } else {
    tokens_[nodes_[node].token] = token;
  }
}

const AddedToken* AddedTokenFinder::longest_at(std::string_view input, size_t at, ByteRange literal) const {
  const AddedToken* longest = nullptr;
  const bool before_end = at < literal.end;
  uint32_t node = roots_[static_cast<unsigned char>(input[at])];
  while (node != kNone) {
    if (nodes_[node].token != kNone) {
      const AddedToken& token = tokens_[nodes_[node].token];
      if (!token.special || !before_end || at < literal.begin) longest = &token;
    }
    node = nodes_[node].child;
    if (++at >= input.size()) break;
    while (node != kNone && nodes_[node].byte != input[at]) node = nodes_[node].sibling;
  }
  return longest;
}

void AddedTokenFinder::split(std::string_view input, ByteRange literal,
                             FunctionRef<void(std::string_view)> text,
                             FunctionRef<void(TokenId)> token) const {
  size_t done = 0;
  for (size_t at = 0; at < input.size();) {
    if (one_root_ >= 0) {
      at = input.find(static_cast<char>(one_root_), at);
      if (at == input.npos) break;
    } else if (roots_[static_cast<unsigned char>(input[at])] == kNone) {
      ++at;
      continue;
    }
    const AddedToken* match = longest_at(input, at, literal);
    if (!match) {
      ++at;
      continue;
    }
    size_t begin = at, end = at + match->content.size();
    if (match->single_word && (before_is(kWord, input, begin) || after_is(kWord, input, end))) {
      at = end;  // as the automaton, which goes on behind the match
      continue;
    }
    if (match->lstrip)
      while (begin > done && before_is(kSpace, input, begin)) begin = character_before(input, begin);
    if (match->rstrip) {
      uint32_t code;
      while (after_is(kSpace, input, end)) end += static_cast<size_t>(utf8_length(input, end, code));
    }
    if (begin > done) text(input.substr(done, begin - done));
    token(match->id);
    done = at = end;
  }
  if (done < input.size()) text(input.substr(done));
}

}  // namespace fettle
