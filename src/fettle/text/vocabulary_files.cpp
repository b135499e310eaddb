#include "fettle/text/vocabulary_files.h"

#include <nlohmann/json.hpp>

#include "fettle/base/error.h"
#include "fettle/base/file.h"

namespace fettle {
namespace fs = std::filesystem;

const char* const kQwen2Pattern =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
const char* const kLlama3Pattern =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

namespace {

constexpr uint64_t kMaxFile = uint64_t{256} << 20;

// Calls line(text, number) for each line, without its line break.
template <typename Each>
void each_line(const std::string& text, Each line) {
  int64_t number = 0;
  for (size_t begin = 0; begin < text.size();) {
    size_t end = std::min(text.find('\n', begin), text.size());
    std::string_view content(text.data() + begin, end - begin);
    if (content.ends_with('\r')) content.remove_suffix(1);
    line(content, ++number);
    begin = end + 1;
  }
}

void default_token(std::string& token, const char* text) {
  if (token.empty()) token = text;
}

// Tokens with a name that stand in the vocabulary are recognised in texts.
Json named_tokens(const Json& vocabulary, const TokenizerConfig& config, const std::string& with_lstrip) {
  Json added = Json::array();
  std::map<TokenId, std::string> by_id;
  for (const std::string* name : {&config.bos_token, &config.eos_token, &config.pad_token, &config.unk_token,
                                  &config.sep_token, &config.cls_token, &config.mask_token})
    if (!name->empty() && vocabulary.contains(*name)) by_id[vocabulary[*name].get<TokenId>()] = *name;
  for (const auto& [id, name] : by_id) added.push_back(added_token_json(id, name, true, name == with_lstrip));
  return added;
}

Json token_and_id(const Json& vocabulary, const std::string& token, const std::string& origin) {
  if (!vocabulary.contains(token))
    fail_input("{}: the special token \"{}\" is not in the vocabulary", origin, printable(token));
  return {token, vocabulary[token]};
}

}  // namespace

Json added_token_json(TokenId id, const std::string& content, bool special, bool lstrip) {
  return {{"id", id},
          {"content", content},
          {"special", special},
          {"normalized", false},
          {"single_word", false},
          {"lstrip", lstrip},
          {"rstrip", false}};
}

Json split_json(const std::string& regex) {
  return {{"type", "Split"}, {"pattern", {{"Regex", regex}}}, {"behavior", "Isolated"}, {"invert", false}};
}

Json byte_level_json(bool add_prefix_space, bool use_regex) {
  return {{"type", "ByteLevel"}, {"add_prefix_space", add_prefix_space}, {"use_regex", use_regex}};
}

Json byte_level_bpe_json(Json vocabulary, Json merges) {
  return {{"model", {{"type", "BPE"}, {"vocab", std::move(vocabulary)}, {"merges", std::move(merges)}}},
          {"pre_tokenizer", byte_level_json(false, true)},
          {"decoder", byte_level_json(false, true)}};
}

Json bert_json(Json vocabulary, const TokenizerConfig& config, const std::string& origin) {
  Json normalizer = {{"type", "BertNormalizer"},
                     {"clean_text", true},
                     {"handle_chinese_chars", config.tokenize_chinese_chars.value_or(true)},
                     {"lowercase", config.do_lower_case.value_or(true)}};
  if (config.strip_accents) normalizer["strip_accents"] = *config.strip_accents;
  Json post = {{"type", "BertProcessing"},
               {"sep", token_and_id(vocabulary, config.sep_token, origin)},
               {"cls", token_and_id(vocabulary, config.cls_token, origin)}};
  Json added = named_tokens(vocabulary, config, "");
  return {{"normalizer", normalizer},
          {"pre_tokenizer", {{"type", "BertPreTokenizer"}}},
          {"post_processor", post},
          {"decoder", {{"type", "WordPiece"}, {"prefix", "##"}, {"cleanup", true}}},
          {"added_tokens", added},
          {"model",
           {{"type", "WordPiece"},
            {"unk_token", config.unk_token},
            {"continuing_subword_prefix", "##"},
            {"max_input_chars_per_word", 100},
            {"vocab", std::move(vocabulary)}}}};
}

Json word_piece_file_json(const fs::path& path, TokenizerConfig& config) {
  default_token(config.unk_token, "[UNK]");
  default_token(config.sep_token, "[SEP]");
  default_token(config.pad_token, "[PAD]");
  default_token(config.cls_token, "[CLS]");
  default_token(config.mask_token, "[MASK]");
  Json vocabulary = Json::object();
  each_line(read_file(path, kMaxFile), [&](std::string_view token, int64_t number) {
    // Of equal lines the last one counts, as in Transformers' load_vocab.
    vocabulary[std::string(token)] = number - 1;
  });
  if (vocabulary.empty()) fail_input("{}: no tokens, expected one a line", path.string());
  return bert_json(std::move(vocabulary), config, path.string());
}

Json bpe_files_json(const fs::path& vocab, const fs::path& merges_path, TokenizerConfig& config) {
  Json vocabulary = parse_json(read_file(vocab, kMaxFile), vocab.string());
  if (!vocabulary.is_object()) fail_input("{}: expected an object of token: id", vocab.string());
  Json merges = Json::array();
  each_line(read_file(merges_path, kMaxFile), [&](std::string_view line, int64_t number) {
    if (line.empty() || (number == 1 && line.starts_with("#version"))) return;
    size_t space = line.find(' ');
    if (space == line.npos || space == 0 || space + 1 == line.size() ||
        line.find(' ', space + 1) != line.npos)
      fail_input("{}:{}: \"{}\", expected two tokens with a space between", merges_path.string(), number,
                 printable(std::string(line.substr(0, 80))));
    merges.push_back(std::string(line));
  });
  bool roberta = config.tokenizer_class.starts_with("Roberta") || config.tokenizer_class.starts_with("Bart");
  if (roberta) {
    default_token(config.bos_token, "<s>");
    default_token(config.eos_token, "</s>");
    default_token(config.sep_token, "</s>");
    default_token(config.cls_token, "<s>");
    default_token(config.unk_token, "<unk>");
    default_token(config.pad_token, "<pad>");
    default_token(config.mask_token, "<mask>");
  } else if (config.tokenizer_class.starts_with("GPT2") || config.tokenizer_class.empty()) {
    default_token(config.bos_token, "<|endoftext|>");
    default_token(config.eos_token, "<|endoftext|>");
    default_token(config.unk_token, "<|endoftext|>");
  }
  Json added = named_tokens(vocabulary, config, roberta ? config.mask_token : "");
  Json json = byte_level_bpe_json(std::move(vocabulary), std::move(merges));
  json["added_tokens"] = added;
  bool prefix_space = config.add_prefix_space.value_or(false);
  json["pre_tokenizer"] = byte_level_json(prefix_space, true);
  if (roberta) {
    const Json& tokens = json["model"]["vocab"];
    json["post_processor"] = {{"type", "RobertaProcessing"},
                              {"sep", token_and_id(tokens, config.sep_token, vocab.string())},
                              {"cls", token_and_id(tokens, config.cls_token, vocab.string())}};
  }
  if (config.tokenizer_class.starts_with("Qwen2")) {
    json["normalizer"] = {{"type", "NFC"}};
    json["pre_tokenizer"] = {
        {"type", "Sequence"},
        {"pretokenizers", {split_json(kQwen2Pattern), byte_level_json(prefix_space, false)}}};
  }
  return json;
}

}  // namespace fettle
