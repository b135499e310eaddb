// Unigram language model: the most probable segmentation (Kudo, arXiv 1804.10959; tokenizers/models/unigram).
#pragma once
#include "fettle/text/token_model.h"

namespace fettle {

class Unigram final : public TokenModel {
 public:
  /// "vocab" as a list of [token, log probability]. Error(kBadInput) for scores that are not finite and an
  /// unk_id outside of the list.
  Unigram(const Json& model, const std::string& origin);

 protected:
  void encode_new(std::string_view word, WordCache& cache, std::vector<TokenId>& out) const override;

 private:
  // A byte trie: children of all nodes in one open hash table.
  struct Edge {
    uint32_t node = 0;  ///< 0: the slot is free, as nothing leads to the root
    uint32_t parent = 0;
    uint8_t byte = 0;
  };
  uint32_t child(uint32_t node, uint8_t byte) const;
  uint32_t make_child(uint32_t node, uint8_t byte);
  void emit_unknown(std::string_view piece, std::vector<TokenId>& out) const;

  std::vector<Edge> edges_;
  std::vector<uint32_t> first_;  ///< child of the root for each byte
  std::vector<TokenId> ends_;    ///< of each node: the token that ends there, or -1
  std::vector<double> scores_;
  double unk_score_ = 0;
  TokenId unk_ = -1;
  std::string unk_token_;
  bool byte_fallback_ = false;
  std::vector<TokenId> byte_ids_;
  std::string origin_;
};

}  // namespace fettle
