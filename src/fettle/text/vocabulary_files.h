// Vocabularies of the time before tokenizer.json, turned into one as Transformers' converters do
// (transformers/convert_slow_tokenizer.py).
#pragma once
#include <filesystem>

#include "fettle/base/json.h"
#include "fettle/text/tokenizer_config.h"

namespace fettle {

/// vocab.txt: a WordPiece token a line. Special tokens that `config` does not name are BERT's own and are
/// noted there.
Json word_piece_file_json(const std::filesystem::path& vocab, TokenizerConfig& config);

/// vocab.json and merges.txt: byte-level BPE of GPT-2, RoBERTa or Qwen2, by config.tokenizer_class.
Json bpe_files_json(const std::filesystem::path& vocab, const std::filesystem::path& merges,
                    TokenizerConfig& config);

/// The parts that these files share with vocabularies inside other files.
Json bert_json(Json vocabulary, const TokenizerConfig& config, const std::string& origin);
Json byte_level_bpe_json(Json vocabulary, Json merges);
/// {"type": "Split"} with a regex, each piece on its own.
Json split_json(const std::string& regex);
/// {"type": "ByteLevel"}.
Json byte_level_json(bool add_prefix_space, bool use_regex);
/// An entry of added_tokens.
Json added_token_json(TokenId id, const std::string& content, bool special, bool lstrip = false);

extern const char* const kQwen2Pattern;
extern const char* const kLlama3Pattern;

}  // namespace fettle
