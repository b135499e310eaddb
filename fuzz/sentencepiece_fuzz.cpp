// SentencePiece models: the protocol buffer and the tokenizer made of it.
#include <nlohmann/json.hpp>

#include "fettle/text/pipeline_tokenizer.h"
#include "fettle/text/sentencepiece_model.h"
#include "fuzz_input.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace fettle;
  return fuzz::expect_errors_only([&] {
    SentencePieceModel model = parse_sentencepiece_model(fuzz::text_of(data, size), "fuzz");
    TokenizerConfig config;
    complete_for_sentencepiece(config, model);
    auto tokenizer = make_pipeline_tokenizer(tokenizer_json(model, config), "fuzz", config);
    tokenizer->decode(tokenizer->encode("Hello 世界  <s>", true), false);
  });
}
