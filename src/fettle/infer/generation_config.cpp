#include "fettle/infer/generation_config.h"

namespace fettle {

GenerationOptions generation_options(const Config& config) {
  GenerationOptions options;
  options.sampling = {.do_sample = config.get<bool>("do_sample"),
                      .temperature = config.get<double>("temperature"),
                      .top_k = config.get<int64_t>("top_k"),
                      .top_p = config.get<double>("top_p"),
                      .repetition_penalty = config.get<double>("repetition_penalty"),
                      .seed = static_cast<uint64_t>(config.get<int64_t>("seed"))};
  if (options.sampling.temperature <= 0) options.sampling.do_sample = false;
  options.max_new_tokens = config.get<int64_t>("max_new_tokens");
  return options;
}

}  // namespace fettle
