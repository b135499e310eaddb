// Text to token ids and back, as Hugging Face `tokenizers` does it.
#pragma once
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace fettle {

using TokenId = int32_t;

/// A text or a pair of texts as a model reads it; all lists have the same length.
struct Encoding {
  std::vector<TokenId> ids;
  std::vector<int32_t> type_ids;             ///< 0 first text, 1 second text
  std::vector<uint8_t> special_tokens_mask;  ///< 1: put there by the post-processor
};

/// A tokenizer read from a model folder. Immutable after loading; every method may be called from several
/// threads.
class Tokenizer {
 public:
  virtual ~Tokenizer() = default;

  /// Ids of UTF-8 `text`. `add_special_tokens` runs the post-processor (and the add_bos/add_eos flags of
  /// tokenizer_config.json); special tokens that stand in the text are recognised either way.
  virtual std::vector<TokenId> encode(std::string_view text, bool add_special_tokens) const = 0;
  /// As encode(text, false), but special tokens that stand in the bytes [begin, end) are ordinary text there,
  /// as with split_special_tokens of Transformers.
  virtual std::vector<TokenId> encode_literally(std::string_view text, size_t begin, size_t end) const = 0;
  /// A text, or two texts in one sequence (question and context, premise and hypothesis). With `max_length`
  /// ends of the texts are cut so that so many ids are left, special tokens included: of two texts from the
  /// longer one first, as truncation=True of Transformers.
  virtual Encoding encode_with_types(std::string_view text, std::optional<std::string_view> pair,
                                     bool add_special_tokens,
                                     std::optional<int64_t> max_length = std::nullopt) const = 0;
  /// Text of `ids`, exactly as `tokenizers`' decode. Unknown ids are skipped.
  virtual std::string decode(std::span<const TokenId> ids, bool skip_special_tokens) const = 0;

  /// Number of ids, added tokens included (largest id + 1).
  virtual int64_t vocab_size() const = 0;
  virtual std::optional<TokenId> token_to_id(std::string_view token) const = 0;
  /// The token as stored in the vocabulary; empty for an unknown id.
  virtual std::string id_to_token(TokenId id) const = 0;
  virtual bool is_special(TokenId id) const = 0;

  /// From tokenizer_config.json / special_tokens_map.json.
  virtual std::optional<TokenId> bos_id() const = 0;
  virtual std::optional<TokenId> eos_id() const = 0;
  virtual std::optional<TokenId> pad_id() const = 0;
  virtual std::optional<TokenId> unk_id() const = 0;
  /// The model's own chat template (Jinja): chat_template.jinja, else tokenizer_config.json; of a list of
  /// named templates the one called `name` ("default" by default). Empty when there is none.
  virtual std::string chat_template(std::string_view name = "default") const = 0;
  /// Files of the folder that belong to the tokenizer; they are copied beside adapters and merged models.
  virtual std::vector<std::filesystem::path> files() const = 0;
};

/// Reads the tokenizer of a model folder: tokenizer.json; without it tokenizer.model or spiece.model
/// (SentencePiece), vocab.json with merges.txt (byte-level BPE), vocab.txt (WordPiece). `folder` may also
/// name a GGUF file. Truncation and padding stored in a tokenizer.json are not applied: Transformers sets
/// both anew at every call. Error(kBadInput) naming the file and the field.
std::shared_ptr<const Tokenizer> load_tokenizer(const std::filesystem::path& folder);

/// One file alone, without the flags and names of tokenizer_config.json: a tokenizer.json, a SentencePiece
/// model, a vocab.txt or a GGUF file.
std::shared_ptr<const Tokenizer> load_tokenizer_file(const std::filesystem::path& file);

/// Decodes ids one by one and never emits half a character.
class StreamDecoder {
 public:
  explicit StreamDecoder(std::shared_ptr<const Tokenizer> tokenizer, bool skip_special_tokens = true);
  /// The text that `id` completes; empty while a character is unfinished.
  std::string push(TokenId id);
  /// What is left at the end (an unfinished character becomes U+FFFD, as decode gives it).
  std::string finish();

 private:
  std::shared_ptr<const Tokenizer> tokenizer_;
  bool skip_special_tokens_;
  std::vector<TokenId> ids_;
  size_t prefix_ = 0, read_ = 0;
};

}  // namespace fettle
