// Options of a run about generation.
#pragma once
#include "fettle/base/config/config.h"
#include "fettle/infer/generator.h"

namespace fettle {

/// do_sample, temperature, top_p, top_k, repetition_penalty, max_new_tokens, seed.
GenerationOptions generation_options(const Config& config);

}  // namespace fettle
