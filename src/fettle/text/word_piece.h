// WordPiece as BERT uses it: the longest known piece from the left (tokenizers/models/wordpiece).
#pragma once
#include "fettle/text/token_model.h"

namespace fettle {

class WordPiece final : public TokenModel {
 public:
  /// Error(kBadInput) when model.unk_token is not in the vocabulary.
  WordPiece(const Json& model, const std::string& origin);

 protected:
  void encode_new(std::string_view word, WordCache& cache, std::vector<TokenId>& out) const override;

 private:
  Vocabulary continuing_;  ///< pieces inside of a word, without their prefix
  size_t longest_ = 0;     ///< bytes of the longest token
  int64_t max_input_chars_;
  TokenId unk_;
};

}  // namespace fettle
