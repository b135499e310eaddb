// tokenizer_config.json, special_tokens_map.json, chat_template.jinja.
#pragma once
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace fettle {

struct TokenizerConfig {
  std::string bos_token, eos_token, pad_token, unk_token;  ///< empty: none
  std::optional<bool> add_bos_token, add_eos_token;        ///< only of tokenizer classes that act on them
  std::map<std::string, std::string, std::less<>> chat_templates;
  std::vector<std::filesystem::path> files;  ///< of the tokenizer, present in the folder
};

TokenizerConfig read_tokenizer_config(const std::filesystem::path& folder);

}  // namespace fettle
