#include "fettle/text/tokenizer_config.h"

#include <array>
#include <nlohmann/json.hpp>

#include "fettle/base/error.h"
#include "fettle/base/file.h"
#include "fettle/base/json.h"

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
  std::string type =
      json.value("tokenizer_class", Json()).is_string() ? json["tokenizer_class"].get<std::string>() : "";
  if (type == "LlamaTokenizer" || type == "LlamaTokenizerFast" || type == "CodeLlamaTokenizerFast") {
    if (json.contains("add_bos_token") && json["add_bos_token"].is_boolean())
      config.add_bos_token = json["add_bos_token"].get<bool>();
    if (json.contains("add_eos_token") && json["add_eos_token"].is_boolean())
      config.add_eos_token = json["add_eos_token"].get<bool>();
  }
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
