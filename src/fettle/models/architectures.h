// The builders that the registry lists; each is one file.
#pragma once
#include <memory>

#include "fettle/models/causal_lm.h"

namespace fettle {

std::unique_ptr<CausalLM> build_llama(const ModelConfig& config);
std::unique_ptr<CausalLM> build_qwen2(const ModelConfig& config);
std::unique_ptr<CausalLM> build_qwen3(const ModelConfig& config);
std::unique_ptr<CausalLM> build_mistral(const ModelConfig& config);
std::unique_ptr<CausalLM> build_gpt2(const ModelConfig& config);

}  // namespace fettle
