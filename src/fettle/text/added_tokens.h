// Tokens that are cut out of a text before anything else sees it.
#pragma once
#include <functional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "fettle/text/tokenizer.h"

namespace fettle {

struct AddedToken {
  TokenId id = -1;
  std::string content;
  bool special = false, normalized = false, single_word = false, lstrip = false, rstrip = false;
};

/// Finds the tokens of one list in a text, leftmost and longest first, as `tokenizers`' AddedVocabulary.
class AddedTokenFinder {
 public:
  void add(const AddedToken& token);
  bool empty() const { return by_first_byte_.empty(); }
  /// Calls text(piece) and token(id) in order; empty pieces are left out.
  void split(std::string_view input, const std::function<void(std::string_view)>& text,
             const std::function<void(TokenId)>& token) const;

 private:
  /// Longest first, so the first that fits is the longest.
  std::unordered_map<char, std::vector<AddedToken>> by_first_byte_;
};

}  // namespace fettle
