// Options about the model, its adapters and its vocabulary; quantization; what belongs to other modalities.
#include "fettle/base/config/schema.h"

namespace fettle::schema {
using enum OptionType;
using enum OptionStatus;

Options model_options() {
  constexpr std::string_view kNoDownload = "nothing is downloaded: the folder is read as it is";
  constexpr std::string_view kFixedVocabulary =
      "not available yet: the vocabulary of the model is kept as it is";
  constexpr std::string_view kAlwaysFused = "the fused kernels are always in use";
  return {
      {.name = "model_name_or_path",
       .aliases = {"model", "model_path", "base_model"},
       .help = "Folder of the base model: config.json, weights, tokenizer. Nothing is downloaded",
       .common = true},
      {.name = "adapter_name_or_path",
       .aliases = {"adapter", "adapter_path", "peft_model_id"},
       .type = kList,
       .help =
           "Adapter folders, ours or PEFT's. All but the last are merged in order; the last one is trained "
           "further, or mounted",
       .common = true},
      {.name = "adapter_weights",
       .type = kList,
       .help =
           "A weight for each of adapter_name_or_path, where a model is used or exported; default: 1 each"},
      {.name = "create_new_adapter",
       .type = kBool,
       .fallback = "false",
       .help = "Merge every adapter of adapter_name_or_path and train a fresh one"},
      {.name = "strict_finite",
       .type = kBool,
       .fallback = "false",
       .help = "Refuse a base whose weights hold NaN or infinity; unset: a warning names them"},
      {.name = "train_from_scratch",
       .type = kBool,
       .fallback = "false",
       .help = "Start from random weights of the shapes in config.json, drawn from `seed`"},
      {.name = "infer_dtype",
       .type = kChoice,
       .fallback = "auto",
       .help =
           "Computation in chat, generate, score and export; auto: bfloat16 when the weights are 16-bit and "
           "the CPU computes it natively, else float32",
       .choices = {"auto", "float32", "bfloat16"},
       .refused = {{"float16", "not available yet: computation is float32 or bfloat16"}},
       .spellings = {{"f32", "float32"},
                     {"fp32", "float32"},
                     {"bf16", "bfloat16"},
                     {"f16", "float16"},
                     {"fp16", "float16"}},
       .common = true},
      refused("adapter_folder", kString, "null", "Folder under which adapters are looked up",
              "write the folders in adapter_name_or_path"),
      refused("resize_vocab", kBool, "false", "Grow the embedding to the tokenizer's size", kFixedVocabulary),
      {.name = "split_special_tokens",
       .type = kBool,
       .fallback = "false",
       .help = "Special tokens written in messages (<|im_end|>) are ordinary text; the template's own stay. "
               "With named "
               "templates"},
      refused("add_tokens", kList, "null", "New tokens", kFixedVocabulary),
      refused("add_special_tokens", kList, "null", "New special tokens", kFixedVocabulary),
      refused("new_special_tokens_config", kString, "null", "File of new special tokens", kFixedVocabulary),
      no_effect("init_special_tokens", kString, "noise_init", "How new special tokens start",
                "no token is added"),
      refused("rope_scaling", kString, "null", "Stretch the context window",
              "not available yet: the rope_scaling of the model's config.json is used"),
      refused("shift_attn", kBool, "false", "LongLoRA's shifted attention", "not available yet: LongLoRA"),
      refused("mixture_of_depths", kString, "null", "Mixture of depths",
              "not available yet: mixture of depths"),
      refused("moe_aux_loss_coef", kFloat, "null", "Weight of the router loss",
              "not available yet: mixture-of-experts models"),
      refused("model_init_kwargs", kObject, "null", "Arguments of from_pretrained (TRL)",
              "there is no from_pretrained here; use the options of this page"),
      refused("use_kv_cache", kBool, "true", "Keep keys and values while generating",
              "generation always keeps them"),
      refused("print_param_status", kBool, "false", "List every parameter",
              "not available yet; `fettle train --verbose` prints the trainable modules"),
      no_effect("use_cache", kBool, "false", "Keep keys and values in the training forward pass (HF)",
                "the training pass never needs them"),
      no_effect("cache_dir", kString, "null", "Folder for downloads", kNoDownload),
      no_effect("model_revision", kString, "main", "Revision to download", kNoDownload),
      no_effect("hf_hub_token", kString, "null", "Hugging Face token", kNoDownload),
      no_effect("ms_hub_token", kString, "null", "ModelScope token", kNoDownload),
      no_effect("om_hub_token", kString, "null", "Modelers token", kNoDownload),
      no_effect("use_fast_tokenizer", kBool, "true", "Use the tokenizers library", "there is one tokenizer"),
      no_effect("low_cpu_mem_usage", kBool, "true", "Load with little memory",
                "weights are always mapped from the file"),
      no_effect("offload_folder", kString, "offload", "Folder for weights that do not fit",
                "weights are mapped from the model's own files"),
      no_effect("trust_remote_code", kBool, "false", "Run Python code of the model folder",
                "nothing in a model folder is ever run"),
      no_effect("flash_attn", kString, "auto", "Attention implementation",
                "attention is always blocked and exact; T x T scores are never stored"),
      no_effect("attn_implementation", kString, "null", "Attention implementation (HF)",
                "attention is always blocked and exact; T x T scores are never stored"),
      no_effect("use_unsloth", kBool, "false", "Unsloth kernels", kAlwaysFused),
      no_effect("use_unsloth_gc", kBool, "false", "Unsloth checkpointing", "see gradient_checkpointing"),
      {.name = "enable_liger_kernel",
       .aliases = {"use_liger_kernel", "use_liger"},
       .type = kBool,
       .fallback = "false",
       .help = "Liger kernels",
       .status = kNoEffect,
       .reason = kAlwaysFused},
      no_effect("liger_kernel_config", kObject, "null", "Liger kernels (HF)", kAlwaysFused),
      no_effect("use_v1_kernels", kBool, "false", "LLaMA-Factory's own kernels", kAlwaysFused),
      no_effect("router_aux_loss_coef", kFloat, "0.001", "Weight of the router loss (TRL)",
                "no mixture-of-experts model is supported"),
  };
}

Options quantization_options() {
  return {
      {.name = "quantization_bit",
       .type = kChoice,
       .help = "Hold the base's linears in 4 bits (QLoRA) or 8 while an adapter is trained or used",
       .choices = {"4", "8"},
       .refused = {{"2", "4 and 8 bits in the layouts of bitsandbytes are known"},
                   {"3", "4 and 8 bits in the layouts of bitsandbytes are known"}}},
      {.name = "quantization_method",
       .type = kChoice,
       .fallback = "bnb",
       .help = "Layout of quantised weights",
       .choices = {"bnb"},
       .refused = {{"gptq", "only the layouts of bitsandbytes are known"},
                   {"awq", "only the layouts of bitsandbytes are known"},
                   {"hqq", "only the layouts of bitsandbytes are known"},
                   {"eetq", "only the layouts of bitsandbytes are known"}},
       .spellings = {{"bitsandbytes", "bnb"}}},
      {.name = "quantization_type",
       .aliases = {"bnb_4bit_quant_type"},
       .type = kChoice,
       .fallback = "nf4",
       .help = "The 16 values of 4 bits: those of a normal distribution, or a small float",
       .choices = {"nf4", "fp4"}},
      {.name = "double_quantization",
       .aliases = {"bnb_4bit_use_double_quant"},
       .type = kBool,
       .fallback = "true",
       .help = "Quantise the scales of 4 bits as well"},
      {.name = "quantization_blocksize",
       .type = kChoice,
       .fallback = "64",
       .help = "Elements that share a scale (4 bits)",
       .choices = {"32", "64", "128", "256", "512", "1024", "2048", "4096"}},
      no_effect("quantization_device_map", kString, "null", "Placement of quantized weights",
                "one process holds all weights"),
      refused("fp8", kBool, "false", "8-bit floating point training", "not available yet: fp8"),
      no_effect("fp8_backend", kString, "auto", "Library for fp8", "only read with fp8, which is refused"),
      refused("fp8_enable_fsdp_float8_all_gather", kBool, "false", "fp8 between devices",
              "not available yet: fp8"),
  };
}

Options multimodal_options() {
  constexpr std::string_view kTextOnly = "models here read text only";
  return {
      no_effect("freeze_vision_tower", kBool, "true", "Freeze the vision tower", kTextOnly),
      no_effect("freeze_multi_modal_projector", kBool, "true", "Freeze the projector", kTextOnly),
      refused("freeze_language_model", kBool, "false", "Freeze the language model", kTextOnly),
      refused("media_dir", kString, "null", "Folder of images, videos and audio", kTextOnly),
      no_effect("image_max_pixels", kInt, "589824", "Largest image", kTextOnly),
      no_effect("image_min_pixels", kInt, "1024", "Smallest image", kTextOnly),
      no_effect("image_do_pan_and_scan", kBool, "false", "Pan and scan", kTextOnly),
      no_effect("crop_to_patches", kBool, "false", "Crop images to patches", kTextOnly),
      no_effect("video_max_pixels", kInt, "65536", "Largest video frame", kTextOnly),
      no_effect("video_min_pixels", kInt, "256", "Smallest video frame", kTextOnly),
      no_effect("video_fps", kFloat, "2.0", "Frames a second", kTextOnly),
      no_effect("video_maxlen", kInt, "128", "Frames of a video", kTextOnly),
      no_effect("use_audio_in_video", kBool, "false", "Sound of videos", kTextOnly),
      no_effect("audio_sampling_rate", kInt, "16000", "Samples a second", kTextOnly),
  };
}

}  // namespace fettle::schema
