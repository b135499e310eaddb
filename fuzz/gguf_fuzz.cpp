// GGUF: metadata and the vocabulary in it.
#include "fettle/text/gguf_vocabulary.h"
#include "fuzz_input.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace fettle;
  return fuzz::expect_errors_only([&] {
    auto tokenizer = load_gguf_tokenizer(fuzz::file_of(data, size, "x.gguf"));
    tokenizer->decode(tokenizer->encode("Hello 世界", true), false);
  });
}
