// The table of methods: one line each, looked up by peft_type.
#pragma once
#include <memory>
#include <string>

#include "fettle/peft/adapter.h"

namespace fettle {

using AdapterMaker = std::unique_ptr<Adapter> (*)(CausalLM&, AdapterConfig);
struct AdapterKind {
  const char* peft_type;
  AdapterMaker make;  ///< reads and checks the method's keys; nothing is mounted yet
};
/// Error(kBadInput) with the known list for another type.
const AdapterKind& adapter_kind(const AdapterConfig& config);

std::unique_ptr<Adapter> make_lora(CausalLM& model, AdapterConfig config);
std::unique_ptr<Adapter> make_adalora(CausalLM& model, AdapterConfig config);
std::unique_ptr<Adapter> make_loha(CausalLM& model, AdapterConfig config);
std::unique_ptr<Adapter> make_lokr(CausalLM& model, AdapterConfig config);
std::unique_ptr<Adapter> make_ia3(CausalLM& model, AdapterConfig config);
std::unique_ptr<Adapter> make_vera(CausalLM& model, AdapterConfig config);
std::unique_ptr<Adapter> make_oft(CausalLM& model, AdapterConfig config);
std::unique_ptr<Adapter> make_boft(CausalLM& model, AdapterConfig config);
std::unique_ptr<Adapter> make_ln_tuning(CausalLM& model, AdapterConfig config);
std::unique_ptr<Adapter> make_beft(CausalLM& model, AdapterConfig config);
std::unique_ptr<Adapter> make_trainable_tokens(CausalLM& model, AdapterConfig config);
std::unique_ptr<Adapter> make_prompt_tuning(CausalLM& model, AdapterConfig config);
std::unique_ptr<Adapter> make_p_tuning(CausalLM& model, AdapterConfig config);
std::unique_ptr<Adapter> make_prefix_tuning(CausalLM& model, AdapterConfig config);
std::unique_ptr<Adapter> make_bottleneck(CausalLM& model, AdapterConfig config);
std::unique_ptr<Adapter> make_adapter_fusion(CausalLM& model, AdapterConfig config);

}  // namespace fettle
