#include "fettle/text/tokenizer_config.h"

#include <array>
#include <nlohmann/json.hpp>
#include <set>

#include "fettle/base/error.h"
#include "fettle/base/file.h"
#include "fettle/base/json.h"
#include "fettle/text/component.h"

namespace fettle {
namespace fs = std::filesystem;
namespace {

// A special token is a text or an object with "content".
std::string token_text(const Json& json, const char* key) {
  if (!json.contains(key)) return "";
  const Json& value = json[key];
  if (value.is_string()) return value.get<std::string>();
  if (value.is_object() && value.value("content", Json()).is_string())
    return value["content"].get<std::string>();
  return "";
}

AddedToken added_token(const Json& json, TokenId id, const std::string& origin) {
  if (json.is_string()) return {.id = id, .content = json.get<std::string>(), .normalized = true};
  if (!json.is_object() || !json.contains("content") || !json["content"].is_string())
    fail_input("{}: token {} has no content", origin, id);
  bool special = flag_field(json, "special", false, origin);
  return {.id = id,
          .content = json["content"],
          .special = special,
          .normalized = flag_field(json, "normalized", !special, origin),
          .single_word = flag_field(json, "single_word", false, origin),
          .lstrip = flag_field(json, "lstrip", false, origin),
          .rstrip = flag_field(json, "rstrip", false, origin)};
}

// added_tokens_decoder: {"id": {content, flags}}.
void read_added_tokens_decoder(const Json& json, const std::string& origin, TokenizerConfig& config) {
  if (!json.is_object()) fail_input("{}: added_tokens_decoder must be an object", origin);
  std::map<TokenId, AddedToken> by_id;
  for (const auto& [key, value] : json.items()) {
    bool digits = !key.empty() && key.size() <= 9 && key.find_first_not_of("0123456789") == key.npos;
    if (!digits)
      fail_input("{}: added_tokens_decoder has the key \"{}\", expected an id", origin, printable(key));
    TokenId id = std::stoi(key);
    by_id.emplace(id, added_token(value, id, origin));
  }
  for (auto& [id, token] : by_id) config.added_tokens.push_back(std::move(token));
}

// added_tokens.json of older releases: {"content": id}.
void read_added_tokens_file(const fs::path& path, TokenizerConfig& config) {
  Json json = read_json(path);
  if (!json.is_object()) fail_input("{}: expected a JSON object", path.string());
  std::map<TokenId, std::string> by_id;
  for (const auto& [content, value] : json.items())
    by_id[id_value(value, "the id of \"" + printable(content) + "\"", path.string())] = content;
  const std::set<std::string> special = {config.bos_token, config.eos_token, config.pad_token,
                                         config.unk_token, config.sep_token, config.cls_token,
                                         config.mask_token};
  for (const auto& [id, content] : by_id) {
    bool is_special = special.contains(content);
    config.added_tokens.push_back(
        {.id = id, .content = content, .special = is_special, .normalized = !is_special});
  }
}

}  // namespace

TokenizerConfig read_tokenizer_config(const fs::path& folder) {
  constexpr std::array<const char*, 10> kFiles = {"tokenizer.json",
                                                  "tokenizer_config.json",
                                                  "special_tokens_map.json",
                                                  "added_tokens.json",
                                                  "tokenizer.model",
                                                  "spiece.model",
                                                  "vocab.json",
                                                  "merges.txt",
                                                  "vocab.txt",
                                                  "chat_template.jinja"};
  TokenizerConfig config;
  for (const char* name : kFiles)
    if (fs::exists(folder / name)) config.files.push_back(folder / name);
  Json json = Json::object();
  fs::path path = folder / "tokenizer_config.json";
  if (fs::exists(path)) json = read_json(path);
  if (!json.is_object()) fail_input("{}: expected a JSON object", path.string());
  Json map = Json::object();
  if (fs::exists(folder / "special_tokens_map.json")) map = read_json(folder / "special_tokens_map.json");
  auto token = [&](const char* key) {
    std::string text = token_text(json, key);
    return text.empty() && map.is_object() ? token_text(map, key) : text;
  };
  config.bos_token = token("bos_token");
  config.eos_token = token("eos_token");
  config.pad_token = token("pad_token");
  config.unk_token = token("unk_token");
  config.sep_token = token("sep_token");
  config.cls_token = token("cls_token");
  config.mask_token = token("mask_token");
  if (json.contains("tokenizer_class") && json["tokenizer_class"].is_string())
    config.tokenizer_class = json["tokenizer_class"].get<std::string>();
  if (config.tokenizer_class.ends_with("Fast"))
    config.tokenizer_class.resize(config.tokenizer_class.size() - 4);
  auto flag = [&](const char* key, std::optional<bool>& value) {
    if (json.contains(key) && json[key].is_boolean()) value = json[key].get<bool>();
  };
  if (config.tokenizer_class == "LlamaTokenizer" || config.tokenizer_class == "CodeLlamaTokenizer") {
    flag("add_bos_token", config.add_bos_token);
    flag("add_eos_token", config.add_eos_token);
  }
  flag("do_lower_case", config.do_lower_case);
  flag("strip_accents", config.strip_accents);
  flag("tokenize_chinese_chars", config.tokenize_chinese_chars);
  flag("add_prefix_space", config.add_prefix_space);
  config.extra_ids = std::min<int64_t>(count_field(json, "extra_ids", 100, path.string()), 1000);
  if (json.contains("added_tokens_decoder"))
    read_added_tokens_decoder(json["added_tokens_decoder"], path.string(), config);
  else if (fs::exists(folder / "added_tokens.json"))
    read_added_tokens_file(folder / "added_tokens.json", config);
  if (json.contains("chat_template")) {
    const Json& chat = json["chat_template"];
    if (chat.is_string())
      config.chat_templates["default"] = chat.get<std::string>();
    else if (chat.is_array())
      for (const Json& entry : chat)
        if (entry.is_object() && entry.value("name", Json()).is_string() &&
            entry.value("template", Json()).is_string())
          config.chat_templates[entry["name"].get<std::string>()] = entry["template"].get<std::string>();
  }
  // A file of its own wins over the configuration, as in Transformers.
  if (fs::exists(folder / "chat_template.jinja"))
    config.chat_templates["default"] = read_file(folder / "chat_template.jinja", 1 << 20);
  return config;
}

}  // namespace fettle
