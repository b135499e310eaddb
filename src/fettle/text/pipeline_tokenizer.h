// The stages of a tokenizer.json in a row: added tokens, normalizer, pre-tokenizer, model, post-processor,
// and the decoder for the way back.
#pragma once
#include "fettle/base/json.h"
#include "fettle/text/tokenizer.h"
#include "fettle/text/tokenizer_config.h"

namespace fettle {

/// `json`: the content of a tokenizer.json. Every other kind of vocabulary file is first turned into one.
/// `origin` names the source in errors. Error(kBadInput) naming the field.
std::shared_ptr<const Tokenizer> make_pipeline_tokenizer(const Json& json, const std::string& origin,
                                                         TokenizerConfig config);

}  // namespace fettle
