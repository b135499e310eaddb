// Joins token texts: the "decoder" of a tokenizer.json.
#pragma once
#include <functional>
#include <string>
#include <vector>

#include "fettle/base/json.h"

namespace fettle {

/// Components: Sequence, ByteLevel, ByteFallback, Fuse, Replace, Strip, Metaspace, WordPiece, BPEDecoder.
/// Null json: spaces between the tokens. The pieces of the result are to be joined.
using Decoder = std::function<std::vector<std::string>(std::vector<std::string>)>;
Decoder make_decoder(const Json& json, const std::string& origin);

}  // namespace fettle
