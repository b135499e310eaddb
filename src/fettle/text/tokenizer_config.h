// tokenizer_config.json, special_tokens_map.json, added_tokens.json, chat_template.jinja.
#pragma once
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "fettle/text/added_tokens.h"

namespace fettle {

struct TokenizerConfig {
  std::string tokenizer_class;  ///< without "Fast"; may be empty
  std::string bos_token, eos_token, pad_token, unk_token, sep_token, cls_token, mask_token;  ///< empty: none
  std::optional<bool> add_bos_token, add_eos_token;  ///< only of tokenizer classes that act on them
  /// added_tokens_decoder and added_tokens.json, by id.
  std::vector<AddedToken> added_tokens;
  std::map<std::string, std::string, std::less<>> chat_templates;
  std::vector<std::filesystem::path> files;  ///< of the tokenizer, present in the folder

  /// What BERT's and other classes take besides a vocabulary file.
  std::optional<bool> do_lower_case, strip_accents, tokenize_chinese_chars, add_prefix_space;
  int64_t extra_ids = 100;  ///< T5's sentinels
};

/// Error(kBadInput) naming the file and the key. A folder without any of the files gives an empty config.
TokenizerConfig read_tokenizer_config(const std::filesystem::path& folder);

}  // namespace fettle
