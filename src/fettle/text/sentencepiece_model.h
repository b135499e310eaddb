// SentencePiece models (tokenizer.model, spiece.model): the protocol buffer, and what Transformers makes of
// it.
#pragma once
#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "fettle/base/json.h"
#include "fettle/text/tokenizer_config.h"

namespace fettle {

/// The fields of sentencepiece_model.proto that decide about ids.
struct SentencePieceModel {
  enum class Kind : uint8_t {
    kNormal = 1,
    kUnknown = 2,
    kControl = 3,
    kUserDefined = 4,
    kUnused = 5,
    kByte = 6
  };
  struct Piece {
    std::string text;
    float score = 0;
    Kind kind = Kind::kNormal;
  };
  enum class Type { kUnigram = 1, kBpe = 2, kWord = 3, kChar = 4 };

  std::vector<Piece> pieces;
  Type type = Type::kUnigram;
  bool byte_fallback = false;
  bool add_dummy_prefix = true, remove_extra_whitespaces = true, escape_whitespaces = true;
  std::string precompiled_charsmap;
  int64_t unk_id = 0;  ///< the piece of kind kUnknown
};

/// Error(kBadInput) with the offset for damage, and for scores that are not finite, no unknown piece or two,
/// pieces beyond 10 million, and the types word and char.
SentencePieceModel parse_sentencepiece_model(std::string_view bytes, const std::string& origin);
SentencePieceModel read_sentencepiece_model(const std::filesystem::path& path);

/// Names that a tokenizer_config.json may leave out: bos, eos, unk and pad by the model's control pieces.
void complete_for_sentencepiece(TokenizerConfig& config, const SentencePieceModel& model);

/// As the published tokenizer.json files of Llama 2 (BPE) and T5 (Unigram) were converted. Ids are those of
/// SentencePiece; "legacy": false of tokenizer_config.json, which drops a space that stands first, is not
/// applied.
Json tokenizer_json(const SentencePieceModel& model, const TokenizerConfig& config);

/// Merges that give SentencePiece's segmentation: every way to cut a token into two tokens, best score first.
Json merges_by_score(const std::vector<std::string>& tokens, const std::vector<double>& scores);

}  // namespace fettle
