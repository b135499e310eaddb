// Byte-pair encoding as Hugging Face `tokenizers` does it (models/bpe): Sennrich et al., arXiv 1508.07909.
#pragma once
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "fettle/base/json.h"
#include "fettle/text/tokenizer.h"

namespace fettle {

/// (left id, right id) -> (rank, merged id): open addressing, built once.
class MergeTable {
 public:
  struct Merge {
    int32_t rank = -1;  ///< -1: no such merge
    TokenId id = -1;
  };
  void reserve(size_t count);
  /// A later merge of the same pair replaces the earlier one, as the hash map of `tokenizers` does.
  void insert(TokenId left, TokenId right, Merge merge);
  Merge find(TokenId left, TokenId right) const;

 private:
  struct Slot {
    uint64_t key = ~uint64_t{0};
    Merge merge;
  };
  std::vector<Slot> slots_;
  size_t mask_ = 0;
};

/// Hash and equality that look up a string_view without building a string.
struct StringHash {
  using is_transparent = void;
  size_t operator()(std::string_view text) const { return std::hash<std::string_view>{}(text); }
};
using Vocabulary = std::unordered_map<std::string, TokenId, StringHash, std::equal_to<>>;

class Bpe {
 public:
  /// From the "model" object of a tokenizer.json. `byte_level`: words are bytes and tokens are spelled in
  /// GPT-2's alphabet.
  Bpe(const Json& model, bool byte_level, const std::string& origin);
  /// Appends the ids of one word (the output of the pre-tokenizer, before the byte-level spelling).
  void encode_word(std::string_view word, std::vector<TokenId>& out) const;
  const Vocabulary& vocabulary() const { return vocabulary_; }

 private:
  void initial_symbols(std::string_view word, std::vector<TokenId>& symbols) const;
  void merge(std::vector<TokenId>& symbols) const;
  void merge_long(std::vector<TokenId>& symbols) const;

  Vocabulary vocabulary_;  ///< as written
  Vocabulary words_;       ///< spelled in what encode_word() sees: bytes when byte-level
  MergeTable merges_;
  std::vector<TokenId> byte_ids_;
  TokenId unk_ = -1;
  bool byte_level_, byte_fallback_ = false, fuse_unk_ = false, ignore_merges_ = false;
};

}  // namespace fettle
