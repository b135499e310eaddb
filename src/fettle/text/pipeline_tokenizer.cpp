#include "fettle/text/pipeline_tokenizer.h"

#include <algorithm>
#include <atomic>
#include <nlohmann/json.hpp>
#include <set>

#include "fettle/base/error.h"
#include "fettle/text/added_tokens.h"
#include "fettle/text/component.h"
#include "fettle/text/decoder.h"
#include "fettle/text/normalizer.h"
#include "fettle/text/post_processor.h"
#include "fettle/text/pre_tokenizer.h"
#include "fettle/text/token_model.h"
#include "fettle/text/utf8.h"

namespace fettle {
namespace {

class PipelineTokenizer final : public Tokenizer {
 public:
  PipelineTokenizer(const Json& json, const std::string& origin, TokenizerConfig config);

  std::vector<TokenId> encode(std::string_view text, bool add_special_tokens) const override;
  std::vector<TokenId> encode_literally(std::string_view text, size_t begin, size_t end) const override;
  Encoding encode_with_types(std::string_view text, std::optional<std::string_view> pair,
                             bool add_special_tokens, std::optional<int64_t> max_length) const override;
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
  std::vector<std::filesystem::path> files() const override { return config_.files; }

 private:
  void read_model_tokens(const std::string& origin);
  void read_added_tokens(const Json& json, const std::string& origin);
  void add_token(const AddedToken& token, const std::string& origin);
  std::vector<TokenId> encode_plain(std::string_view text, ByteRange literal = {}) const;
  void encode_piece(std::string_view piece, ByteRange literal, bool first, WordCache& cache,
                    std::vector<TokenId>& out) const;
  bool known(TokenId id) const { return id >= 0 && static_cast<size_t>(id) < tokens_.size(); }
  std::optional<TokenId> named(const std::string& token) const {
    return token.empty() ? std::nullopt : token_to_id(token);
  }

  TokenizerConfig config_;
  std::unique_ptr<const TokenModel> model_;
  Normalizer normalizer_;
  PreTokenizer pre_tokenizer_;
  PostProcessor post_processor_;
  Decoder decoder_;
  AddedTokenFinder raw_finder_, normalized_finder_;  ///< tokens looked for before / after normalisation
  std::map<std::string, TokenId, std::less<>> added_ids_;
  std::set<TokenId> special_;
  std::vector<std::string> tokens_;
  uint64_t serial_;  ///< tells the word caches of different tokenizers apart
};

PipelineTokenizer::PipelineTokenizer(const Json& json, const std::string& origin, TokenizerConfig config)
    : config_(std::move(config)) {
  static std::atomic<uint64_t> next_serial{1};
  serial_ = next_serial++;
  if (!json.is_object() || !json.contains("model") || !json["model"].is_object())
    fail_input("{}: model is missing", origin);
  auto part = [&](const char* key) -> const Json& {
    static const Json null;
    return json.contains(key) ? json[key] : null;
  };
  bool byte_level =
      uses_byte_level(part("pre_tokenizer")) ||
      (part("pre_tokenizer").is_null() && uses_byte_level(part("decoder")) && part("normalizer").is_null());
  model_ = make_token_model(json["model"], byte_level, origin);
  normalizer_ = Normalizer::make(part("normalizer"), origin + ": normalizer");
  pre_tokenizer_ = PreTokenizer::make(part("pre_tokenizer"), origin + ": pre_tokenizer");
  post_processor_ = PostProcessor::make(part("post_processor"), origin + ": post_processor");
  decoder_ = make_decoder(part("decoder"), origin + ": decoder");
  read_model_tokens(origin);
  read_added_tokens(part("added_tokens"), origin);
  for (const AddedToken& token : config_.added_tokens) add_token(token, origin);
  // Llama's tokenizer classes build their own post-processor.
  if (config_.add_bos_token.has_value() || config_.add_eos_token.has_value())
    post_processor_ = PostProcessor::frame(config_.add_bos_token.value_or(true) ? bos_id() : std::nullopt,
                                           config_.add_eos_token.value_or(false) ? eos_id() : std::nullopt);
}

void PipelineTokenizer::read_model_tokens(const std::string& origin) {
  TokenId largest = -1;
  for (const auto& [token, id] : model_->vocabulary()) largest = std::max(largest, id);
  // Gaps are legal, but a table that is nearly all gap is an attack on memory.
  size_t count = model_->vocabulary().size();
  if (static_cast<size_t>(largest) > count * 4 + 1'000'000)
    fail_input("{}: model.vocab has {} tokens and the id {}", origin, count, largest);
  tokens_.resize(static_cast<size_t>(largest + 1));
  std::vector<bool> taken(tokens_.size());
  for (const auto& [token, id] : model_->vocabulary()) {
    size_t at = static_cast<size_t>(id);
    if (taken[at])
      fail_input("{}: model.vocab gives id {} to \"{}\" and \"{}\"", origin, id, printable(tokens_[at]),
                 printable(token));
    taken[at] = true;
    tokens_[at] = token;
  }
}

void PipelineTokenizer::read_added_tokens(const Json& json, const std::string& origin) {
  if (json.is_null()) return;
  if (!json.is_array()) fail_input("{}: added_tokens must be a list", origin);
  for (const Json& entry : json) {
    if (!entry.is_object() || !entry.contains("content") || !entry["content"].is_string() ||
        !entry.contains("id"))
      fail_input("{}: added_tokens holds {}, expected id and content", origin, printable(entry.dump(), 60));
    bool special = flag_field(entry, "special", false, origin);
    add_token({.id = id_value(entry["id"], "the id of an added token", origin),
               .content = entry["content"],
               .special = special,
               .normalized = flag_field(entry, "normalized", !special, origin),
               .single_word = flag_field(entry, "single_word", false, origin),
               .lstrip = flag_field(entry, "lstrip", false, origin),
               .rstrip = flag_field(entry, "rstrip", false, origin)},
              origin);
  }
}

void PipelineTokenizer::add_token(const AddedToken& token, const std::string& origin) {
  if (token.content.empty() || token.content.size() > 65536)
    fail_input("{}: added token {} is empty or longer than 65536 bytes", origin, token.id);
  size_t at = static_cast<size_t>(token.id);
  if (at >= tokens_.size()) {
    if (at > tokens_.size() + 1'000'000)
      fail_input("{}: added token \"{}\" has id {}, far beyond the vocabulary", origin,
                 printable(token.content), token.id);
    tokens_.resize(at + 1);
  }
  tokens_[at] = token.content;
  added_ids_[token.content] = token.id;
  if (token.special)
    special_.insert(token.id);
  else
    special_.erase(token.id);
  if (token.normalized) {
    AddedToken spelled = token;
    std::string buffer;
    spelled.content = std::string(normalizer_.apply(token.content, buffer));
    if (!spelled.content.empty()) normalized_finder_.add(spelled);
  } else {
    raw_finder_.add(token);
  }
}

// `literal`: of the piece.
void PipelineTokenizer::encode_piece(std::string_view piece, ByteRange literal, bool first, WordCache& cache,
                                     std::vector<TokenId>& out) const {
  std::string buffer;
  std::string_view normalized = normalizer_.apply(piece, buffer);
  auto words = [&](std::string_view text) {
    pre_tokenizer_.cut(text, first, [&](std::string_view word, bool) { model_->encode(word, cache, out); });
    first = false;
  };
  if (normalized_finder_.empty()) return words(normalized);
  // In a text that was rewritten the bytes are not known again, so all of it is taken literally.
  if (normalized.data() != piece.data() && literal.begin < literal.end) literal = {0, normalized.size()};
  normalized_finder_.split(normalized, literal, words, [&](TokenId id) {
    out.push_back(id);
    first = false;
  });
}

std::vector<TokenId> PipelineTokenizer::encode_plain(std::string_view text, ByteRange literal) const {
  std::string repaired;
  if (!is_valid_utf8(text)) {
    const std::string before = utf8_lossy(text.substr(0, literal.begin)),
                      inside = utf8_lossy(text.substr(literal.begin, literal.end - literal.begin));
    repaired = literal.end == 0 ? utf8_lossy(text) : before + inside + utf8_lossy(text.substr(literal.end));
    literal = {before.size(), before.size() + inside.size()};
    text = repaired;
  }
  std::vector<TokenId> ids;
  ids.reserve(text.size() / 3 + 8);
  WordCache& cache = WordCache::of_thread(serial_);
  bool first = true;
  raw_finder_.split(
      text, literal,
      [&](std::string_view piece) {
        const size_t at = static_cast<size_t>(piece.data() - text.data());
        encode_piece(piece,
                     {std::max(literal.begin, at) - at, std::clamp(literal.end, at, at + piece.size()) - at},
                     first, cache, ids);
        first = false;
      },
      [&](TokenId id) {
        ids.push_back(id);
        first = false;
      });
  return ids;
}

// tokenizers' TruncationStrategy::LongestFirst.
void cut_longest_first(std::vector<TokenId>& first, std::vector<TokenId>& second, size_t most) {
  if (first.size() + second.size() <= most) return;
  std::vector<TokenId>&shorter = first.size() <= second.size() ? first : second,
  &longer = &shorter == &first ? second : first;
  size_t low = shorter.size();
  size_t high = low > most ? low : std::max(low, most - low);
  if (low + high > most) {
    low = most / 2;
    high = low + most % 2;
  }
  shorter.resize(std::min(low, shorter.size()));
  longer.resize(std::min(high, longer.size()));
}

std::vector<TokenId> PipelineTokenizer::encode(std::string_view text, bool add_special_tokens) const {
  std::vector<TokenId> ids = encode_plain(text);
  return add_special_tokens ? post_processor_.single(std::move(ids)).ids : ids;
}

std::vector<TokenId> PipelineTokenizer::encode_literally(std::string_view text, size_t begin,
                                                         size_t end) const {
  FETTLE_CHECK(begin <= end && end <= text.size(), "bytes {} to {} of {}", begin, end, text.size());
  return encode_plain(text, {begin, end});
}

Encoding PipelineTokenizer::encode_with_types(std::string_view text, std::optional<std::string_view> pair,
                                              bool add_special_tokens,
                                              std::optional<int64_t> max_length) const {
  std::vector<TokenId> first = encode_plain(text), second;
  if (pair) second = encode_plain(*pair);
  const PostProcessor none, &processor = add_special_tokens ? post_processor_ : none;
  if (max_length) {
    const size_t extra = pair ? processor.pair_extra() : processor.single_extra();
    const size_t most = static_cast<size_t>(std::max<int64_t>(0, *max_length));
    cut_longest_first(first, second, most - std::min(extra, most));
  }
  return pair ? processor.pair(std::move(first), std::move(second)) : processor.single(std::move(first));
}

std::string PipelineTokenizer::decode(std::span<const TokenId> ids, bool skip_special_tokens) const {
  std::vector<std::string> tokens;
  tokens.reserve(ids.size());
  for (TokenId id : ids) {
    if (!known(id) || (skip_special_tokens && special_.contains(id))) continue;
    const std::string& token = tokens_[static_cast<size_t>(id)];
    if (!token.empty()) tokens.push_back(token);
  }
  std::string text;
  for (const std::string& piece : decoder_(std::move(tokens))) text += piece;
  return text;
}

std::optional<TokenId> PipelineTokenizer::token_to_id(std::string_view token) const {
  if (auto found = added_ids_.find(token); found != added_ids_.end()) return found->second;
  if (auto found = model_->vocabulary().find(token); found != model_->vocabulary().end())
    return found->second;
  return std::nullopt;
}

std::string PipelineTokenizer::chat_template(std::string_view name) const {
  auto found = config_.chat_templates.find(name);
  return found == config_.chat_templates.end() ? "" : found->second;
}

}  // namespace

std::shared_ptr<const Tokenizer> make_pipeline_tokenizer(const Json& json, const std::string& origin,
                                                         TokenizerConfig config) {
  return std::make_shared<PipelineTokenizer>(json, origin, std::move(config));
}

}  // namespace fettle
