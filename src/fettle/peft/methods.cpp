#include "fettle/peft/methods.h"

#include "fettle/base/error.h"

namespace fettle {
namespace {

constexpr AdapterKind kKinds[] = {
    {"LORA", make_lora},
    {"ADALORA", make_adalora},
    {"LOHA", make_loha},
    {"LOKR", make_lokr},
    {"IA3", make_ia3},
    {"VERA", make_vera},
    {"OFT", make_oft},
    {"BOFT", make_boft},
    {"LN_TUNING", make_ln_tuning},
    {"BEFT", make_beft},
    {"TRAINABLE_TOKENS", make_trainable_tokens},
    {"PROMPT_TUNING", make_prompt_tuning},
    {"P_TUNING", make_p_tuning},
    {"PREFIX_TUNING", make_prefix_tuning},
    {"BOTTLENECK", make_bottleneck},
    {"ADAPTER_FUSION", make_adapter_fusion},
};

}  // namespace

const AdapterKind& adapter_kind(const AdapterConfig& config) {
  for (const AdapterKind& kind : kKinds)
    if (config.peft_type == kind.peft_type) return kind;
  fail_input("{}: peft_type is \"{}\"; known methods: {}", config.origin, printable(config.peft_type),
             fmt::join(known_peft_types(), ", "));
}

std::vector<std::string> known_peft_types() {
  std::vector<std::string> types;
  for (const AdapterKind& kind : kKinds) types.emplace_back(kind.peft_type);
  return types;
}

}  // namespace fettle
