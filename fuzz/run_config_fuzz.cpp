// Run files: YAML and JSON.
#include "fettle/base/config/config.h"
#include "fettle/base/config/values.h"
#include "fuzz_input.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace fettle;
  std::string text = fuzz::text_of(data, size);
  fuzz::expect_errors_only([&] { parse_yaml_config(text, "fuzz"); });
  fuzz::expect_errors_only([&] { parse_json_config(text, "fuzz"); });
  return 0;
}
