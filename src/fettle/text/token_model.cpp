#include "fettle/text/token_model.h"

#include <array>
#include <nlohmann/json.hpp>

#include "fettle/base/error.h"
#include "fettle/text/bpe.h"
#include "fettle/text/component.h"
#include "fettle/text/unigram.h"
#include "fettle/text/word_level.h"
#include "fettle/text/word_piece.h"

namespace fettle {

WordCache& WordCache::of_thread(uint64_t serial) {
  struct Entry {
    uint64_t serial = 0, used = 0;
    std::unique_ptr<WordCache> cache;
  };
  thread_local std::array<Entry, 4> entries;
  thread_local uint64_t clock = 0;
  Entry* oldest = &entries[0];
  for (Entry& entry : entries) {
    if (entry.cache && entry.serial == serial) {
      entry.used = ++clock;
      return *entry.cache;
    }
    if (entry.used < oldest->used) oldest = &entry;
  }
  *oldest = {serial, ++clock, std::make_unique<WordCache>()};
  return *oldest->cache;
}

void TokenModel::read_vocabulary(const Json& model, const std::string& origin) {
  if (!model.contains("vocab") || !model["vocab"].is_object())
    fail_input("{}: model.vocab is missing", origin);
  const Json& vocab = model["vocab"];
  vocabulary_.reserve(vocab.size());
  for (const auto& [token, value] : vocab.items())
    vocabulary_.emplace(token, id_value(value, "model.vocab[\"" + printable(token) + "\"]", origin));
}

std::unique_ptr<const TokenModel> make_token_model(const Json& model, bool byte_level,
                                                   const std::string& origin) {
  std::string type;
  if (model.contains("type") && !model["type"].is_null()) {
    type = text_field(model, "type", origin);
  } else {
    // Files of old releases leave the type out.
    if (model.contains("merges"))
      type = "BPE";
    else if (model.contains("unk_id"))
      type = "Unigram";
    else
      type = model.contains("continuing_subword_prefix") ? "WordPiece" : "WordLevel";
  }
  if (type == "BPE") return std::make_unique<Bpe>(model, byte_level, origin);
  if (byte_level)
    fail_input("{}: a {} model behind a ByteLevel pre_tokenizer is not supported", origin, type);
  if (type == "WordPiece") return std::make_unique<WordPiece>(model, origin);
  if (type == "Unigram") return std::make_unique<Unigram>(model, origin);
  if (type == "WordLevel") return std::make_unique<WordLevel>(model, origin);
  fail_input("{}: model type {} is not supported, expected BPE, WordPiece, Unigram or WordLevel", origin,
             printable(type));
}

}  // namespace fettle
