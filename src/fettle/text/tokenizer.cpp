// tokenizer.json with a BPE model: the families of Llama, Qwen, DeepSeek and GPT-2.
#include "fettle/text/tokenizer.h"

#include <algorithm>
#include <atomic>
#include <nlohmann/json.hpp>
#include <set>

#include "fettle/base/error.h"
#include "fettle/base/file.h"
#include "fettle/base/json.h"
#include "fettle/text/added_tokens.h"
#include "fettle/text/bpe.h"
#include "fettle/text/pipeline.h"
#include "fettle/text/tokenizer_config.h"
#include "fettle/text/utf8.h"

namespace fettle {
namespace fs = std::filesystem;
namespace {

constexpr uint64_t kMaxFile = uint64_t{512} << 20;

class JsonTokenizer final : public Tokenizer {
 public:
  JsonTokenizer(const fs::path& path, TokenizerConfig config);

  std::vector<TokenId> encode(std::string_view text, bool add_special_tokens) const override;
  std::string decode(std::span<const TokenId> ids, bool skip_special_tokens) const override;
  int64_t vocab_size() const override { return static_cast<int64_t>(tokens_.size()); }
  std::optional<TokenId> token_to_id(std::string_view token) const override;
  std::string id_to_token(TokenId id) const override {
    return known(id) ? tokens_[static_cast<size_t>(id)] : "";
  }
  bool is_special(TokenId id) const override { return special_.contains(id); }
  std::optional<TokenId> bos_id() const override { return named(config_.bos_token); }
  std::optional<TokenId> eos_id() const override { return named(config_.eos_token); }
  std::optional<TokenId> pad_id() const override { return named(config_.pad_token); }
  std::optional<TokenId> unk_id() const override { return named(config_.unk_token); }
  std::string chat_template(std::string_view name) const override;
  std::vector<fs::path> files() const override { return config_.files; }

 private:
  void read_added_tokens(const Json& json, const std::string& origin);
  void encode_piece(std::string_view piece, bool first, std::vector<TokenId>& out) const;
  void encode_word(const std::string& word, std::vector<TokenId>& out) const;
  bool known(TokenId id) const { return id >= 0 && static_cast<size_t>(id) < tokens_.size(); }
  std::optional<TokenId> named(const std::string& token) const {
    return token.empty() ? std::nullopt : token_to_id(token);
  }

  TokenizerConfig config_;
  std::unique_ptr<Bpe> model_;
  Normalizer normalizer_;
  PreTokenizer pre_tokenizer_;
  Decoder decoder_;
  SpecialFrame frame_;
  AddedTokenFinder raw_finder_, normalized_finder_;  ///< tokens looked for before / after normalisation
  std::map<std::string, TokenId, std::less<>> added_ids_;
  std::set<TokenId> special_, added_;
  std::vector<std::string> tokens_;
  uint64_t serial_;  ///< tells word caches of different tokenizers apart
};

JsonTokenizer::JsonTokenizer(const fs::path& path, TokenizerConfig config) : config_(std::move(config)) {
  static std::atomic<uint64_t> next_serial{1};
  serial_ = next_serial++;
  std::string origin = path.string();
  Json json = parse_json(read_file(path, kMaxFile), origin);
  if (!json.is_object() || !json.contains("model") || !json["model"].is_object())
    fail_input("{}: model is missing", origin);
  auto part = [&](const char* key) -> const Json& {
    static const Json null;
    return json.contains(key) ? json[key] : null;
  };
  const Json& model = json["model"];
  std::string type = model.value("type", model.contains("merges") ? "BPE" : "?");
  if (type != "BPE") fail_input("{}: model type {} is not supported, expected BPE", origin, printable(type));
  bool byte_level = uses_byte_level(part("pre_tokenizer")) ||
                    (part("pre_tokenizer").is_null() && uses_byte_level(part("decoder")));
  model_ = std::make_unique<Bpe>(model, byte_level, origin);
  normalizer_ = make_normalizer(part("normalizer"), origin + ": normalizer");
  pre_tokenizer_ = make_pre_tokenizer(part("pre_tokenizer"), origin + ": pre_tokenizer");
  decoder_ = make_decoder(part("decoder"), origin + ": decoder");
  frame_ = make_special_frame(part("post_processor"), origin + ": post_processor");
  TokenId largest = -1;
  for (const auto& [token, id] : model_->vocabulary()) largest = std::max(largest, id);
  tokens_.resize(static_cast<size_t>(largest + 1));
  for (const auto& [token, id] : model_->vocabulary()) {
    std::string& slot = tokens_[static_cast<size_t>(id)];
    if (!slot.empty())
      fail_input("{}: model.vocab gives id {} to \"{}\" and \"{}\"", origin, id, printable(slot),
                 printable(token));
    slot = token;
  }
  read_added_tokens(part("added_tokens"), origin);
}

void JsonTokenizer::read_added_tokens(const Json& json, const std::string& origin) {
  if (json.is_null()) return;
  if (!json.is_array()) fail_input("{}: added_tokens must be a list", origin);
  for (const Json& entry : json) {
    if (!entry.is_object() || !entry.value("content", Json()).is_string() ||
        !entry.value("id", Json()).is_number_integer())
      fail_input("{}: added_tokens holds {}, expected id and content", origin, printable(entry.dump(), 60));
    AddedToken token{.id = entry["id"].get<TokenId>(),
                     .content = entry["content"],
                     .special = entry.value("special", false),
                     .normalized = entry.value("normalized", !entry.value("special", false)),
                     .single_word = entry.value("single_word", false),
                     .lstrip = entry.value("lstrip", false),
                     .rstrip = entry.value("rstrip", false)};
    int64_t id = entry["id"].get<int64_t>();
    if (id < 0 || id > (1 << 28))
      fail_input("{}: added token \"{}\" has the impossible id {}", origin, printable(token.content), id);
    if (token.content.empty() || token.content.size() > 65536)
      fail_input("{}: added token {} is empty or longer than 65536 bytes", origin, id);
    if (static_cast<size_t>(id) >= tokens_.size()) {
      if (static_cast<size_t>(id) > tokens_.size() + 1'000'000)
        fail_input("{}: added token \"{}\" has id {}, far beyond the vocabulary", origin,
                   printable(token.content), id);
      tokens_.resize(static_cast<size_t>(id) + 1);
    }
    tokens_[static_cast<size_t>(id)] = token.content;
    added_ids_[token.content] = token.id;
    added_.insert(token.id);
    if (token.special) special_.insert(token.id);
    if (token.normalized) {
      AddedToken spelled = token;
      spelled.content = normalizer_(token.content);
      if (!spelled.content.empty()) normalized_finder_.add(spelled);
    } else {
      raw_finder_.add(token);
    }
  }
}

void JsonTokenizer::encode_word(const std::string& word, std::vector<TokenId>& out) const {
  // Words repeat: each thread remembers the short ones of the tokenizer it used last.
  struct Cache {
    uint64_t serial = 0;
    std::unordered_map<std::string, std::vector<TokenId>> words;
  };
  constexpr size_t kLongest = 64, kMost = 1 << 16;
  if (word.size() > kLongest) return model_->encode_word(word, out);
  thread_local Cache cache;
  if (cache.serial != serial_ || cache.words.size() >= kMost) {
    cache.words.clear();
    cache.serial = serial_;
  }
  auto [entry, fresh] = cache.words.try_emplace(word);
  if (fresh) model_->encode_word(word, entry->second);
  out.insert(out.end(), entry->second.begin(), entry->second.end());
}

void JsonTokenizer::encode_piece(std::string_view piece, bool first, std::vector<TokenId>& out) const {
  std::string normalized = normalizer_(std::string(piece));
  auto words = [&](std::string_view text) {
    Words cut = {std::string(text)};
    pre_tokenizer_(cut, first);
    for (const std::string& word : cut) encode_word(word, out);
    first = false;
  };
  if (normalized_finder_.empty()) {
    if (!normalized.empty()) words(normalized);
    return;
  }
  normalized_finder_.split(normalized, words, [&](TokenId id) {
    out.push_back(id);
    first = false;
  });
}

std::vector<TokenId> JsonTokenizer::encode(std::string_view text, bool add_special_tokens) const {
  std::string repaired;
  if (!is_valid_utf8(text)) {
    repaired = utf8_lossy(text);
    text = repaired;
  }
  std::vector<TokenId> ids;
  const SpecialFrame& frame = frame_;
  std::optional<TokenId> bos, eos;
  if (add_special_tokens) {
    // Llama's tokenizer classes build their post-processor from add_bos_token and add_eos_token; where the
    // file already does the same, nothing is added twice.
    if (config_.add_bos_token.has_value())
      bos = *config_.add_bos_token ? bos_id() : std::nullopt;
    else if (!frame.before.empty())
      ids = frame.before;
    if (bos) ids.push_back(*bos);
  }
  bool first = true;
  raw_finder_.split(
      text,
      [&](std::string_view piece) {
        encode_piece(piece, first, ids);
        first = false;
      },
      [&](TokenId id) {
        ids.push_back(id);
        first = false;
      });
  if (add_special_tokens) {
    if (config_.add_eos_token.has_value()) {
      if (*config_.add_eos_token) eos = eos_id();
      if (eos) ids.push_back(*eos);
    } else {
      ids.insert(ids.end(), frame.after.begin(), frame.after.end());
    }
  }
  return ids;
}

std::string JsonTokenizer::decode(std::span<const TokenId> ids, bool skip_special_tokens) const {
  std::vector<std::string> tokens;
  for (TokenId id : ids) {
    if (!known(id) || (skip_special_tokens && special_.contains(id))) continue;
    const std::string& token = tokens_[static_cast<size_t>(id)];
    if (!token.empty()) tokens.push_back(token);
  }
  std::string text;
  for (const std::string& piece : decoder_(std::move(tokens))) text += piece;
  return text;
}

std::optional<TokenId> JsonTokenizer::token_to_id(std::string_view token) const {
  if (auto found = added_ids_.find(token); found != added_ids_.end()) return found->second;
  if (auto found = model_->vocabulary().find(token); found != model_->vocabulary().end())
    return found->second;
  return std::nullopt;
}

std::string JsonTokenizer::chat_template(std::string_view name) const {
  auto found = config_.chat_templates.find(name);
  return found == config_.chat_templates.end() ? "" : found->second;
}

}  // namespace

std::shared_ptr<const Tokenizer> load_tokenizer(const fs::path& folder) {
  fs::path file = folder / "tokenizer.json";
  if (!fs::exists(file))
    fail_input(
        "{}: no tokenizer.json; give a model folder that has one (save it with tokenizer.save_pretrained)",
        folder.string());
  return std::make_shared<JsonTokenizer>(file, read_tokenizer_config(folder));
}

std::shared_ptr<const Tokenizer> load_tokenizer_json(const fs::path& file) {
  return std::make_shared<JsonTokenizer>(file, TokenizerConfig());
}

StreamDecoder::StreamDecoder(std::shared_ptr<const Tokenizer> tokenizer, bool skip_special_tokens)
    : tokenizer_(std::move(tokenizer)), skip_special_tokens_(skip_special_tokens) {}

std::string StreamDecoder::push(TokenId id) {
  ids_.push_back(id);
  // Decoding the run since the last complete character twice, with and without the new token, gives exactly
  // the text that it adds, whatever the decoder does at the start of a sequence.
  std::span<const TokenId> run(ids_.data() + prefix_, ids_.size() - prefix_);
  std::string before = tokenizer_->decode(run.first(read_ - prefix_), skip_special_tokens_);
  std::string after = tokenizer_->decode(run, skip_special_tokens_);
  if (after.size() <= before.size() || after.ends_with("\xEF\xBF\xBD")) return "";
  prefix_ = read_;
  read_ = ids_.size();
  return after.substr(before.size());
}

std::string StreamDecoder::finish() {
  std::span<const TokenId> run(ids_.data() + prefix_, ids_.size() - prefix_);
  std::string before = tokenizer_->decode(run.first(read_ - prefix_), skip_special_tokens_);
  std::string after = tokenizer_->decode(run, skip_special_tokens_);
  prefix_ = read_ = ids_.size();
  return after.size() > before.size() ? after.substr(before.size()) : "";
}

}  // namespace fettle
