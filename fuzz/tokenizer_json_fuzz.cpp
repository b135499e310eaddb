// tokenizer.json: reading it, then a few texts through what was read.
#include <nlohmann/json.hpp>

#include "fettle/base/json.h"
#include "fettle/text/pipeline_tokenizer.h"
#include "fuzz_input.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace fettle;
  return fuzz::expect_errors_only([&] {
    auto tokenizer = make_pipeline_tokenizer(parse_json(fuzz::text_of(data, size), "fuzz"), "fuzz", {});
    for (const char* text :
         {"", "Hello, world 123", "  两个\n空格 <s>x</s>", "e\xCC\x81\xF0\x9F\x98\x80\xFF"}) {
      std::vector<TokenId> ids = tokenizer->encode(text, true);
      tokenizer->decode(ids, false);
      tokenizer->encode_with_types(text, "pair", true);
    }
  });
}
