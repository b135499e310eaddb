// The stages around a tokenizer's model, as tokenizer.json describes them.
#pragma once
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "fettle/base/json.h"
#include "fettle/text/tokenizer.h"

namespace fettle {

/// Rewrites a text before it is cut. Components: Sequence, NFC, NFD, NFKC, NFKD, Lowercase, Prepend, Replace,
/// Strip.
using Normalizer = std::function<std::string(std::string)>;
/// Null json: the identity. Unknown components: Error(kBadInput) naming them.
Normalizer make_normalizer(const Json& json, const std::string& origin);

/// Cuts a text into words. Components: Sequence, ByteLevel, Split, Digits, Metaspace, Whitespace,
/// WhitespaceSplit, Punctuation. The byte-level spelling itself is the model's matter: words stay UTF-8.
using Words = std::vector<std::string>;
using PreTokenizer = std::function<void(Words&, bool first_piece)>;
PreTokenizer make_pre_tokenizer(const Json& json, const std::string& origin);
/// Whether a ByteLevel component stands anywhere in a pre-tokenizer (or decoder).
bool uses_byte_level(const Json& json);

/// Joins token texts. Components: Sequence, ByteLevel, Replace, ByteFallback, Fuse, Strip, Metaspace.
using Decoder = std::function<std::vector<std::string>(std::vector<std::string>)>;
Decoder make_decoder(const Json& json, const std::string& origin);

/// Ids that a post-processor puts around a single sequence.
struct SpecialFrame {
  std::vector<TokenId> before, after;
};
SpecialFrame make_special_frame(const Json& json, const std::string& origin);

}  // namespace fettle
