#include <array>
#include <nlohmann/json.hpp>

#include "fettle/base/error.h"
#include "fettle/models/architectures.h"

namespace fettle {
namespace {

constexpr std::array<Architecture, 5> kArchitectures = {{
    {"LlamaForCausalLM", build_llama},
    {"Qwen2ForCausalLM", build_qwen2},
    {"Qwen3ForCausalLM", build_qwen3},
    {"MistralForCausalLM", build_mistral},
    {"GPT2LMHeadModel", build_gpt2},
}};

}  // namespace

std::vector<std::string> known_architectures() {
  std::vector<std::string> names;
  for (const Architecture& architecture : kArchitectures) names.emplace_back(architecture.name);
  return names;
}

std::unique_ptr<CausalLM> build_model(const ModelConfig& config) {
  for (const Architecture& architecture : kArchitectures)
    if (config.architecture == architecture.name) return architecture.build(config);
  std::string custom =
      config.raw->contains("auto_map") ? " (its auto_map names Python code, which is never run)" : "";
  fail_input("{}: architectures: \"{}\" is not supported{}; known: {}", config.path.string(),
             printable(config.architecture), custom, fmt::join(known_architectures(), ", "));
}

}  // namespace fettle
