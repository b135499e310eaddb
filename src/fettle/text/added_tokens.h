// Tokens that are cut out of a text before anything else sees it.
#pragma once
#include <array>
#include <string>
#include <string_view>
#include <vector>

#include "fettle/base/function_ref.h"
#include "fettle/text/tokenizer.h"

namespace fettle {

struct AddedToken {
  TokenId id = -1;
  std::string content;
  bool special = false, normalized = false, single_word = false, lstrip = false, rstrip = false;
};

struct ByteRange {
  size_t begin = 0, end = 0;
};

/// Finds the tokens of one list in a text, leftmost and longest first, as `tokenizers`' AddedVocabulary.
class AddedTokenFinder {
 public:
  /// A token added again replaces the earlier one.
  void add(const AddedToken& token);
  bool empty() const { return tokens_.empty(); }
  /// Calls text(piece) and token(id) in order; empty pieces are left out. Special tokens are not found where
  /// they would take bytes of [literal.begin, literal.end).
  void split(std::string_view input, ByteRange literal, FunctionRef<void(std::string_view)> text,
             FunctionRef<void(TokenId)> token) const;

 private:
  static constexpr uint32_t kNone = ~uint32_t{0};
  struct Node {
    uint32_t child = kNone, sibling = kNone, token = kNone;
    char byte = 0;
  };
  const AddedToken* longest_at(std::string_view input, size_t at, ByteRange literal) const;

  std::vector<AddedToken> tokens_;
  std::vector<Node> nodes_;
  std::array<uint32_t, 256> roots_ = [] {
    std::array<uint32_t, 256> none;
    none.fill(kNone);
    return none;
  }();
  int one_root_ = -1;  ///< the byte that all tokens begin with; -1 when they differ
};

}  // namespace fettle
