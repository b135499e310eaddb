// Options about what is trained: the stage, full or LoRA, other methods, preference training.
#include "fettle/base/config/schema.h"

namespace fettle::schema {
using enum OptionType;
using enum OptionStatus;

Options method_options() {
  constexpr std::string_view kPreference =
      "not available yet: stages are sft and pt. `fettle data preview` shows preference pairs as they are "
      "encoded, and `fettle data convert IN OUT --to sharegpt` makes dialogues of the chosen answers for "
      "stage sft";
  return {
      {.name = "stage",
       .type = kChoice,
       .fallback = "sft",
       .help = "sft: dialogues and instructions; pt: plain text, every token trained",
       .choices = {"sft", "pt"},
       .refused = {{"rm", kPreference}, {"ppo", kPreference}, {"dpo", kPreference}, {"kto", kPreference}},
       .common = true},
      {.name = "finetuning_type",
       .type = kChoice,
       .fallback = "lora",
       .help = "lora: small matrices beside the linears; full: every weight; freeze: some layers; the others "
               "are PEFT's methods (docs/methods)",
       .choices = {"lora", "full", "freeze", "adalora", "loha", "lokr", "ia3", "vera", "oft", "boft",
                   "ln_tuning", "bitfit", "trainable_tokens", "prompt_tuning", "p_tuning", "prefix_tuning",
                   "bottleneck", "adapter_fusion"},
       .spellings = {{"adapter", "bottleneck"}},
       .common = true},
      {.name = "freeze_trainable_layers",
       .type = kInt,
       .fallback = "2",
       .help = "Layers that are trained: the last N, or with a negative number the first",
       .min = -100000,
       .max = 100000,
       .methods = {"freeze"}},
      {.name = "freeze_trainable_modules",
       .type = kList,
       .fallback = "all",
       .help = "Modules trained in these layers (mlp, self_attn, input_layernorm …), or all",
       .methods = {"freeze"}},
      {.name = "freeze_extra_modules",
       .type = kList,
       .help = "Modules outside the layers that are trained too (embed_tokens, norm, lm_head)",
       .methods = {"freeze"}},
      refused("use_llama_pro", kBool, "false", "Train added blocks only", "not available yet: LLaMA Pro"),
      {.name = "neftune_noise_alpha",
       .aliases = {"neftune_alpha"},
       .type = kFloat,
       .help = "Noise on the embeddings while training (NEFTune); 5 is usual",
       .min = 0,
       .max = 1e6},
      {.name = "use_dft_loss",
       .type = kBool,
       .fallback = "false",
       .help = "Dynamic fine-tuning: each token's loss times its probability"},
      refused("use_asft_loss", kBool, "false", "Anchored fine-tuning loss", "not available yet: ASFT loss"),
      no_effect("asft_alpha", kFloat, "0.1", "ASFT: weight",
                "only read with use_asft_loss, which is refused"),
      refused("use_eaft_loss", kBool, "false", "Entropy-adaptive loss", "not available yet: EAFT loss"),
      no_effect("eaft_alpha", kFloat, "1.0", "EAFT: exponent",
                "only read with use_eaft_loss, which is refused"),
      {.name = "loss_type",
       .type = kString,
       .help = "Loss (TRL)",
       .status = kRefused,
       .reason = "the loss is the mean cross-entropy of the trained tokens",
       .accepted = {"nll", "chunked_nll"}},
      {.name = "label_smoothing_factor",
       .type = kFloat,
       .fallback = "0.0",
       .help = "Share of the target that is spread over all tokens (HF)",
       .min = 0,
       .max = 1,
       .below_max = true},
  };
}

Options preference_options() {
  constexpr std::string_view kOtherStage = "only read by stages rm, ppo, dpo and kto, which are refused";
  return {
      no_effect("pref_beta", kFloat, "0.1", "Beta of the preference loss", kOtherStage),
      no_effect("pref_ftx", kFloat, "0.0", "Weight of the supervised loss", kOtherStage),
      no_effect("pref_bco_weight", kFloat, "0.0", "Weight of the classifier loss", kOtherStage),
      no_effect("pref_loss", kString, "sigmoid", "Preference loss", kOtherStage),
      no_effect("dpo_label_smoothing", kFloat, "0.0", "Label smoothing of DPO", kOtherStage),
      no_effect("kto_chosen_weight", kFloat, "1.0", "KTO: weight of good answers", kOtherStage),
      no_effect("kto_rejected_weight", kFloat, "1.0", "KTO: weight of bad answers", kOtherStage),
      no_effect("simpo_gamma", kFloat, "0.5", "SimPO: margin", kOtherStage),
      no_effect("ld_alpha", kFloat, "null", "LD-DPO: weight of verbose tokens", kOtherStage),
      no_effect("ppo_buffer_size", kInt, "1", "PPO: batches in the buffer", kOtherStage),
      no_effect("ppo_epochs", kInt, "4", "PPO: epochs", kOtherStage),
      no_effect("ppo_score_norm", kBool, "false", "PPO: normalise scores", kOtherStage),
      no_effect("ppo_target", kFloat, "6.0", "PPO: target divergence", kOtherStage),
      no_effect("ppo_whiten_rewards", kBool, "false", "PPO: whiten rewards", kOtherStage),
      no_effect("ref_model", kString, "null", "Reference model", kOtherStage),
      no_effect("ref_model_adapters", kList, "null", "Adapters of the reference model", kOtherStage),
      no_effect("ref_model_quantization_bit", kInt, "null", "Bits of the reference model", kOtherStage),
      no_effect("reward_model", kString, "null", "Reward model", kOtherStage),
      no_effect("reward_model_adapters", kList, "null", "Adapters of the reward model", kOtherStage),
      no_effect("reward_model_quantization_bit", kInt, "null", "Bits of the reward model", kOtherStage),
      no_effect("reward_model_type", kString, "lora", "Kind of reward model", kOtherStage),
  };
}

}  // namespace fettle::schema
