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

/// Places where no merge can ever join two characters, so that the parts of a word on both sides can be
/// encoded apart: no token of the vocabulary holds the bytes around the place. A Bloom filter: it may miss a
/// place but never invents one.
class BoundaryFilter {
 public:
  /// Notes what the token joins. `characters`: tokens and words are whole characters, of which those that no
  /// token joins to anything are told at once.
  void add(std::string_view token, bool characters);
  /// End of the part of `word` that starts at `begin`.
  size_t part_end(std::string_view word, size_t begin) const;

 private:
  static constexpr int kBits = 22;
  bool may_join(std::string_view word, size_t at) const;
  size_t part_end_by_characters(std::string_view word, size_t begin) const;
  static uint32_t key(std::string_view text, size_t at, bool left, bool right);
  std::vector<uint64_t> bits_ = std::vector<uint64_t>((size_t{1} << kBits) / 64);
  /// By code point below 0x10000: characters that some token joins to the next one, and to the one before.
  std::vector<uint64_t> joins_next_, joins_previous_;
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
  std::vector<TokenId> single_ids_;  ///< not byte-level: tokens of one character, by code point below 0x10000
  bool cuts_spaces_ = false;         ///< no token holds SentencePiece's ▁ behind another character
  /// Byte-level only: characters of more than one byte that become one token before they meet any neighbour,
  /// by code point, and the pairs of bytes between characters where a token may hold a part of a character.
  std::vector<TokenId> character_ids_;
  std::vector<uint64_t> split_pairs_;
  bool may_split(std::string_view word, size_t at) const {
    size_t pair = static_cast<size_t>(static_cast<unsigned char>(word[at - 1])) << 8 |
                  static_cast<unsigned char>(word[at]);
    return split_pairs_[pair >> 6] >> (pair & 63) & 1;
  }
  TokenId unk_ = -1;
  bool byte_level_, byte_fallback_ = false, fuse_unk_ = false, ignore_merges_ = false;
};

}  // namespace fettle
