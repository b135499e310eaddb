// One id for each word.
#pragma once
#include "fettle/text/token_model.h"

namespace fettle {

class WordLevel final : public TokenModel {
 public:
  WordLevel(const Json& model, const std::string& origin);

 protected:
  /// Error(kBadInput) for an unknown word when the file has no unknown token.
  void encode_new(std::string_view word, WordCache& cache, std::vector<TokenId>& out) const override;

 private:
  TokenId unk_ = -1;
  std::string origin_;
};

}  // namespace fettle
