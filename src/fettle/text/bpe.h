// Byte-pair encoding as Hugging Face `tokenizers` does it (models/bpe): Sennrich et al., arXiv 1508.07909.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "fettle/text/token_model.h"

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
  /// Calls each(left, right, rank) for every merge.
  template <typename Each>
  void for_each(Each each) const {
    for (const Slot& slot : slots_)
      if (slot.key != ~uint64_t{0})
        each(static_cast<TokenId>(slot.key >> 32), static_cast<TokenId>(slot.key & 0xFFFFFFFF),
             slot.merge.rank);
  }

 private:
  struct Slot {
    uint64_t key = ~uint64_t{0};
    Merge merge;
  };
  std::vector<Slot> slots_;
  size_t mask_ = 0;
};

/// Places between characters that no merge can ever reach across, so that the parts of a word on both sides
/// can be encoded apart: no token of the vocabulary holds the two characters one after the other. Pairs of
/// characters are kept in a Bloom filter: it may miss a place but never invents one.
class BoundaryFilter {
 public:
  /// Notes what the token joins.
  void add(std::string_view token);
  /// End of the part of `word` that starts at `begin`.
  size_t part_end(std::string_view word, size_t begin) const;
  /// Whether a token that holds a part of a character may reach across the place before word[at], which is
  /// between characters.
  bool may_split(std::string_view word, size_t at) const {
    size_t pair = static_cast<size_t>(static_cast<unsigned char>(word[at - 1])) << 8 |
                  static_cast<unsigned char>(word[at]);
    return split_pairs_[pair >> 6] >> (pair & 63) & 1;
  }

 private:
  static constexpr int kBits = 22;
  static uint64_t key(uint32_t left, uint32_t right) {
    return (static_cast<uint64_t>(left) << 32 | right) * 0x9E3779B97F4A7C15ull >> (64 - kBits);
  }
  std::vector<uint64_t> pairs_ = std::vector<uint64_t>((size_t{1} << kBits) / 64);
  /// By last and first byte: places inside of tokens that begin or end within a character.
  std::vector<uint64_t> split_pairs_ = std::vector<uint64_t>(65536 / 64);
};

class Bpe final : public TokenModel {
 public:
  /// From the "model" object of a tokenizer.json. `byte_level`: words are bytes and tokens are spelled in
  /// GPT-2's alphabet. Error(kBadInput) for a merge whose parts or result are not in the vocabulary.
  Bpe(const Json& model, bool byte_level, const std::string& origin);

 protected:
  void encode_new(std::string_view word, WordCache& cache, std::vector<TokenId>& out) const override;

 private:
  void read_merges(const Json& model, const std::string& origin);
  void initial_symbols(std::string_view word, std::vector<TokenId>& symbols) const;
  void read_characters();
  void encode_part(std::string_view part, std::vector<TokenId>& out) const;
  void encode_cached(std::string_view part, WordCache& cache, std::vector<TokenId>& out) const;
  void encode_parts(std::string_view word, WordCache& cache, std::vector<TokenId>& out) const;
  /// Highest rank used, or -1.
  int32_t merge(std::vector<TokenId>& symbols) const;
  void merge_long(std::vector<TokenId>& symbols) const;

  Vocabulary words_;  ///< spelled in what encode() sees: bytes when byte-level
  size_t longest_ = 0;
  MergeTable merges_;
  BoundaryFilter boundaries_;
  bool cuts_ = true;  ///< whether words may be cut at the boundaries: unknown characters may have to be fused
  std::vector<TokenId> byte_ids_;
  /// Characters that are one token before they meet any neighbour, by code point below 0x10000. Byte-level:
  /// only those of more than one byte, in places where no token can hold a part of them.
  std::vector<TokenId> character_ids_;
  bool cuts_spaces_ = false;  ///< no token holds SentencePiece's ▁ behind another character
  TokenId unk_ = -1;
  bool byte_level_, byte_fallback_ = false, fuse_unk_ = false, ignore_merges_ = false;
};

}  // namespace fettle
