// A template's source as tokens: text between tags (trimmed as trim_blocks, lstrip_blocks and `-` demand) and
// what stands inside tags.
#pragma once
#include <string>
#include <string_view>
#include <vector>

#include "fettle/text/jinja/syntax.h"

namespace fettle::jinja {

enum class TokenKind : uint8_t {
  kText,
  kBlockBegin,
  kBlockEnd,
  kPrintBegin,
  kPrintEnd,
  kName,
  kString,
  kInteger,
  kFloat,
  kOperator,
  kEnd,
};

struct Token {
  TokenKind kind = TokenKind::kEnd;
  std::string text;  ///< decoded text of a string, spelling of everything else
  Position at;
};

/// Error(kBadInput) with `origin`, line and column.
std::vector<Token> tokenize(std::string_view source, const std::string& origin);

[[noreturn]] void fail_at(const std::string& origin, Position at, const std::string& what);

}  // namespace fettle::jinja
