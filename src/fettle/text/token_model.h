// What turns one word into token ids: the "model" of a tokenizer.json.
#pragma once
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "fettle/base/json.h"
#include "fettle/text/tokenizer.h"
#include "fettle/text/word_cache.h"

namespace fettle {

/// Hash and equality that look up a string_view without building a string.
struct StringHash {
  using is_transparent = void;
  size_t operator()(std::string_view text) const { return std::hash<std::string_view>{}(text); }
};
using Vocabulary = std::unordered_map<std::string, TokenId, StringHash, std::equal_to<>>;

class TokenModel {
 public:
  virtual ~TokenModel() = default;
  /// Appends the ids of one non-empty word (UTF-8, the output of the pre-tokenizer). `cache` belongs to the
  /// calling thread and to this model.
  void encode(std::string_view word, WordCache& cache, std::vector<TokenId>& out) const {
    if (word.size() > WordCache::kLongestWord) return encode_new(word, cache, out);
    WordCache::Slot& slot = cache.slot(word, kWholeWord);
    if (WordCache::holds(slot, word, kWholeWord)) {
      WordCache::take(slot, out);
      return;
    }
    size_t before = out.size();
    encode_new(word, cache, out);
    // encode_new may have used the same place for a part of the word.
    WordCache::put(slot, word, kWholeWord, std::span<const TokenId>(out).subspan(before));
  }
  /// Tokens as the file spells them.
  const Vocabulary& vocabulary() const { return vocabulary_; }

 protected:
  /// Kinds of entries in the cache: words, and parts of words where their ids are made in another way.
  enum Kind : uint8_t { kWholeWord, kPart };
  virtual void encode_new(std::string_view word, WordCache& cache, std::vector<TokenId>& out) const = 0;
  /// "vocab" as an object of token: id.
  void read_vocabulary(const Json& model, const std::string& origin);
  Vocabulary vocabulary_;
};

/// BPE, WordPiece, Unigram or WordLevel; without "type" it is told by the fields. `byte_level`: words are
/// bytes and tokens are spelled in GPT-2's alphabet. Error(kBadInput) naming field and value.
std::unique_ptr<const TokenModel> make_token_model(const Json& model, bool byte_level,
                                                   const std::string& origin);

}  // namespace fettle
