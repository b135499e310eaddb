#include "fettle/text/gguf_vocabulary.h"

#include <array>
#include <nlohmann/json.hpp>

#include "fettle/base/error.h"
#include "fettle/formats/gguf.h"
#include "fettle/text/pipeline_tokenizer.h"
#include "fettle/text/sentencepiece_model.h"
#include "fettle/text/vocabulary_files.h"

namespace fettle {
namespace {

using Kind = SentencePieceModel::Kind;

constexpr const char* kGpt2Pattern =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";
constexpr const char* kLineBreak = "[\r\n]";
constexpr const char* kHanAndHangul = "[\u4E00-\u9FA5\u0800-\u4E00\uAC00-\uD7FF]+";
// Alphabetic letters of DeepSeek-LLM, as its tokenizer.json spells them.
constexpr const char* kDeepSeekLetters =
    "\\s?[A-Za-z\u00B5\u00C0-\u00D6\u00D8-\u00F6\u00F8-\u01BA\u01BC-\u01BF\u01C4-\u0293\u0295-\u02AF"
    "\u0370-\u0373\u0376\u0377\u037B-\u037D\u037F\u0386\u0388-\u038A\u038C\u038E-\u03A1\u03A3-\u03F5"
    "\u03F7-\u0481\u048A-\u052F\u0531-\u0556\u10A0-\u10C5\u13A0-\u13F5\u13F8-\u13FD\u1C90-\u1CBA\u1CBD-"
    "\u1CBF\u1D00-\u1D2B\u1D6B-\u1D77\u1D79-\u1D9A\u1E00-\u1F15\u1F18-\u1F1D\u1F20-\u1F45\u1F48-\u1F4D"
    "\u1F50-\u1F57\u1F59\u1F5B\u1F5D\u1F5F-\u1F7D\u1F80-\u1FB4\u1FB6-\u1FBC\u1FBE\u1FC2-\u1FC4\u1FC6-"
    "\u1FCC\u1FD0-\u1FD3\u1FD6-\u1FDB\u1FE0-\u1FEC\u1FF2-\u1FF4\u1FF6-\u1FFC\u2102\u2107\u210A-\u2113"
    "\u2115\u2119-\u211D\u2124\u2126\u2128\u212A-\u212D\u212F-\u2134\u2139\u213C-\u213F\u2145-\u2149"
    "\u214E\u2183\u2184\u2C00-\u2C7B\u2C7E-\u2CE4\u2CEB-\u2CEE\u2CF2\u2CF3\uA640-\uA66D\uA680-\uA69B"
    "\uA722-\uA76F\uA771-\uA787\uA78B-\uA78E\uAB70-\uABBF\uFB00-\uFB06\uFB13-\uFB17\uFF21-\uFF3A\uFF41-"
    "\uFF5A\U00010400-\U0001044F\U000104B0-\U000104D3\U000104D8-\U000104FB\U00010C80-\U00010CB2"
    "\U00010CC0-\U00010CF2\U000118A0-\U000118DF\U0001E900-\U0001E943]+";
constexpr const char* kDeepSeekPunctuation =
    "\\s?[!-/:-~\uFF01-\uFF0F\uFF1A-\uFF5E\u2018-\u201F\u3000-\u3002]+";
constexpr const char* kDeepSeek3Words =
    R"([!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

/// How the texts of a byte-level vocabulary are cut: tokenizer.ggml.pre.
struct Splits {
  std::vector<const char*> names;
  std::vector<const char*> patterns;
};
const std::vector<Splits>& known_splits() {
  static const std::vector<Splits> table = {
      {{"gpt-2", "phi-2", "jina-es", "jina-de", "jina-v2-es", "jina-v2-de", "mpt", "olmo", "roberta-bpe"},
       {kGpt2Pattern}},
      {{"llama-bpe", "llama3", "llama-v3", "falcon3", "chatglm-bpe", "glm4", "dbrx", "smaug-bpe"},
       {kLlama3Pattern}},
      {{"qwen2", "deepseek-r1-qwen", "stablelm2", "hunyuan", "megrez"}, {kQwen2Pattern}},
      {{"starcoder", "refact", "command-r", "smollm", "codeshell", "exaone"}, {R"(\p{N})", kGpt2Pattern}},
      {{"deepseek-llm"},
       {kLineBreak, kDeepSeekLetters, kDeepSeekPunctuation, R"(\s+$)", kHanAndHangul, R"(\p{N})"}},
      {{"deepseek-coder"}, {kLineBreak, R"(\s?\p{L}+)", R"(\s?\p{P}+)", kHanAndHangul, R"(\p{N})"}},
      {{"deepseek-v3"}, {R"(\p{N}{1,3})", "[\u4E00-\u9FA5\u3040-\u309F\u30A0-\u30FF]+", kDeepSeek3Words}}};
  return table;
}

Json pre_tokenizer_json(const std::string& name, const std::string& origin) {
  std::string known;
  for (const Splits& splits : known_splits())
    for (const char* candidate : splits.names) {
      known += (known.empty() ? "" : ", ") + std::string(candidate);
      if (name != candidate) continue;
      Json stages = Json::array();
      for (const char* pattern : splits.patterns) stages.push_back(split_json(pattern));
      stages.push_back(byte_level_json(false, false));
      return {{"type", "Sequence"}, {"pretokenizers", stages}};
    }
  fail_input("{}: tokenizer.ggml.pre is \"{}\", known are {}", origin, printable(name), known);
}

struct Vocabulary {
  const std::vector<std::string>& tokens;
  std::vector<Kind> kinds;
  std::vector<double> scores;
};

Vocabulary read_vocabulary(const GgufFile& file, const std::string& origin) {
  const auto* tokens = file.find<std::vector<std::string>>("tokenizer.ggml.tokens");
  if (!tokens || tokens->empty()) fail_input("{}: no tokenizer.ggml.tokens", origin);
  if (tokens->size() > 10'000'000) fail_input("{}: {} tokens, at most 10 million", origin, tokens->size());
  Vocabulary out{*tokens, std::vector<Kind>(tokens->size(), Kind::kNormal), {}};
  if (const auto* types = file.find<std::vector<int64_t>>("tokenizer.ggml.token_type")) {
    if (types->size() != tokens->size())
      fail_input("{}: {} token types for {} tokens", origin, types->size(), tokens->size());
    for (size_t i = 0; i < types->size(); ++i)
      if ((*types)[i] >= 1 && (*types)[i] <= 6) out.kinds[i] = static_cast<Kind>((*types)[i]);
  }
  if (const auto* scores = file.find<std::vector<double>>("tokenizer.ggml.scores")) {
    if (scores->size() != tokens->size())
      fail_input("{}: {} scores for {} tokens", origin, scores->size(), tokens->size());
    out.scores = *scores;
  }
  return out;
}

Json added_json(const Vocabulary& vocabulary) {
  Json added = Json::array();
  for (size_t id = 0; id < vocabulary.tokens.size(); ++id)
    if (Kind kind = vocabulary.kinds[id];
        (kind == Kind::kControl || kind == Kind::kUserDefined) && !vocabulary.tokens[id].empty())
      added.push_back(
          added_token_json(static_cast<TokenId>(id), vocabulary.tokens[id], kind == Kind::kControl));
  return added;
}

Json vocabulary_json(const std::vector<std::string>& tokens, const std::string& origin) {
  Json json = Json::object();
  for (size_t id = 0; id < tokens.size(); ++id)
    if (!json.emplace(tokens[id], id).second)
      fail_input("{}: token {} \"{}\" stands there twice", origin, id, printable(tokens[id]));
  return json;
}

Json byte_level_vocabulary(const GgufFile& file, const Vocabulary& vocabulary, const std::string& origin) {
  const auto* merges = file.find<std::vector<std::string>>("tokenizer.ggml.merges");
  if (!merges) fail_input("{}: no tokenizer.ggml.merges", origin);
  const std::string* pre = file.find<std::string>("tokenizer.ggml.pre");
  Json json = byte_level_bpe_json(vocabulary_json(vocabulary.tokens, origin), Json(*merges));
  json["pre_tokenizer"] = pre_tokenizer_json(pre ? *pre : "gpt-2", origin);
  // Llama 3 takes words of its vocabulary whole.
  json["model"]["ignore_merges"] = pre && (*pre == "llama-bpe" || *pre == "llama3" || *pre == "llama-v3");
  json["added_tokens"] = added_json(vocabulary);
  return json;
}

// Words begin with U+2581 there, and what continues a word has no mark.
Json bert_vocabulary(const Vocabulary& vocabulary, TokenizerConfig& config, const std::string& origin) {
  std::vector<std::string> tokens = vocabulary.tokens;
  for (size_t id = 0; id < tokens.size(); ++id) {
    std::string& token = tokens[id];
    constexpr std::string_view kMark = "\u2581";
    if (token.starts_with(kMark))
      token.erase(0, kMark.size());
    else if (vocabulary.kinds[id] == Kind::kNormal && !(token.starts_with('[') && token.ends_with(']')))
      token.insert(0, "##");
  }
  return bert_json(vocabulary_json(tokens, origin), config, origin);
}

Json sentencepiece_vocabulary(const GgufFile& file, const Vocabulary& vocabulary, bool unigram,
                              TokenizerConfig& config, const std::string& origin) {
  SentencePieceModel model;
  if (vocabulary.scores.empty()) fail_input("{}: no tokenizer.ggml.scores", origin);
  model.type = unigram ? SentencePieceModel::Type::kUnigram : SentencePieceModel::Type::kBpe;
  for (size_t id = 0; id < vocabulary.tokens.size(); ++id) {
    model.pieces.push_back(
        {vocabulary.tokens[id], static_cast<float>(vocabulary.scores[id]), vocabulary.kinds[id]});
    model.byte_fallback = model.byte_fallback || vocabulary.kinds[id] == Kind::kByte;
  }
  model.unk_id = file.integer("tokenizer.ggml.unknown_token_id").value_or(unigram ? 2 : 0);
  if (model.unk_id < 0 || static_cast<size_t>(model.unk_id) >= model.pieces.size())
    fail_input("{}: tokenizer.ggml.unknown_token_id is {}, there are {} tokens", origin, model.unk_id,
               model.pieces.size());
  model.remove_extra_whitespaces = unigram;
  if (const bool* prefix = file.find<bool>("tokenizer.ggml.add_space_prefix"))
    model.add_dummy_prefix = *prefix;
  if (const auto* map = file.find<std::vector<int64_t>>("tokenizer.ggml.precompiled_charsmap"))
    for (int64_t byte : *map) model.precompiled_charsmap += static_cast<char>(byte);
  config.extra_ids = 0;  // T5's sentinels are among the tokens
  config.tokenizer_class = unigram ? "T5Tokenizer" : "LlamaTokenizer";
  return tokenizer_json(model, config);
}

}  // namespace

std::shared_ptr<const Tokenizer> load_gguf_tokenizer(const std::filesystem::path& path) {
  GgufFile file(path);
  std::string origin = path.string();
  const std::string* type = file.find<std::string>("tokenizer.ggml.model");
  if (!type) fail_input("{}: no tokenizer.ggml.model; the file holds no vocabulary", origin);
  Vocabulary vocabulary = read_vocabulary(file, origin);

  TokenizerConfig config;
  struct Named {
    const char* key;
    std::string TokenizerConfig::*token;
  };
  static constexpr std::array<Named, 8> kNamed = {{{"bos", &TokenizerConfig::bos_token},
                                                   {"eos", &TokenizerConfig::eos_token},
                                                   {"unknown", &TokenizerConfig::unk_token},
                                                   {"padding", &TokenizerConfig::pad_token},
                                                   {"cls", &TokenizerConfig::cls_token},
                                                   {"mask", &TokenizerConfig::mask_token},
                                                   {"separator", &TokenizerConfig::sep_token},
                                                   // Written so by older converters.
                                                   {"seperator", &TokenizerConfig::sep_token}}};
  for (const Named& named : kNamed)
    if (auto id = file.integer(fmt::format("tokenizer.ggml.{}_token_id", named.key))) {
      if (*id < 0 || static_cast<size_t>(*id) >= vocabulary.tokens.size())
        fail_input("{}: tokenizer.ggml.{}_token_id is {}, there are {} tokens", origin, named.key, *id,
                   vocabulary.tokens.size());
      config.*named.token = vocabulary.tokens[static_cast<size_t>(*id)];
    }
  const bool* add_bos = file.find<bool>("tokenizer.ggml.add_bos_token");
  const bool* add_eos = file.find<bool>("tokenizer.ggml.add_eos_token");
  if (add_bos || *type == "llama") config.add_bos_token = add_bos ? *add_bos : true;
  if (add_eos) config.add_eos_token = *add_eos;
  if (const std::string* chat = file.find<std::string>("tokenizer.chat_template"))
    config.chat_templates["default"] = *chat;

  Json json;
  if (*type == "gpt2") {
    json = byte_level_vocabulary(file, vocabulary, origin);
  } else if (*type == "bert") {
    json = bert_vocabulary(vocabulary, config, origin);
    config.add_bos_token.reset();  // BERT's frame is its own
    config.add_eos_token.reset();
  } else if (*type == "llama" || *type == "t5") {
    json = sentencepiece_vocabulary(file, vocabulary, *type == "t5", config, origin);
    if (*type == "t5") {
      config.add_bos_token.reset();
      config.add_eos_token.reset();
    }
  } else {
    fail_input("{}: tokenizer.ggml.model is \"{}\", expected gpt2, llama, bert or t5", origin,
               printable(*type));
  }
  return make_pipeline_tokenizer(json, origin, config);
}

}  // namespace fettle
