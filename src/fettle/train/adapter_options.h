// The options of a run as the configuration of a new adapter.
#pragma once
#include "fettle/base/config/config.h"
#include "fettle/peft/adapter.h"
#include "fettle/text/tokenizer.h"

namespace fettle {

/// What `finetuning_type` and the options of that method ask for, with PEFT's keys. Error(kUsage) naming the
/// option.
/// `tokenizer` may be null; prompt_tuning_init_text needs it.
AdapterConfig adapter_options(const Config& config, CausalLM& model, const Tokenizer* tokenizer);

/// LoRA+ (Hayou et al., arXiv 2402.12354), LLaMA-Factory's groups: the factor of each parameter's learning
/// rate. Empty without loraplus_lr_ratio.
std::function<double(const Parameter&)> loraplus_factors(const Config& config);

/// finetuning_type freeze, LLaMA-Factory's rules: the parameters of the chosen layers and modules, as f32
/// copies.
std::vector<Parameter*> unfrozen_parameters(const Config& config, CausalLM& model);

}  // namespace fettle
