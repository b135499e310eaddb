// Chat templates: parsing and rendering, with limits that keep one input short.
#include <nlohmann/json.hpp>

#include "fettle/base/json.h"
#include "fettle/text/jinja/jinja.h"
#include "fuzz_input.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace fettle;
  static const jinja::Value context = jinja::Value::from_json(parse_ordered_json(
      R"({"messages": [{"role": "system", "content": "s"}, {"role": "user", "content": "q"}, {"role": "assistant", "content": "<think>t</think>a"}],
          "tools": [{"name": "f", "parameters": {}}], "bos_token": "<s>", "eos_token": "</s>", "add_generation_prompt": true, "n": 3})",
      "context"));
  return fuzz::expect_errors_only([&] {
    jinja::Template source(fuzz::text_of(data, size), "fuzz");
    jinja::RenderOptions options;
    options.limits.max_steps = 100'000;
    options.limits.max_output = 1 << 20;
    options.limits.max_memory = 16 << 20;
    source.render(context, options);
  });
}
