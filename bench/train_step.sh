#!/usr/bin/env bash
# LoRA training speed and memory of a Qwen2.5-0.5B-shaped model with random weights, in bf16 at 2048 tokens a step.
#   bench/train_step.sh [STEPS] [FETTLE]
# Prints the tokens/s of each step and the peak memory as the program and the system see it. Compare runs of one machine only.
set -euo pipefail
cd "$(dirname "$0")/.."
steps=${1:-5} fettle=${2:-build/fettle}
work=build/bench-train-step
mkdir -p "$work/config"
cat > "$work/config/config.json" <<'JSON'
{"architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2", "hidden_size": 896, "intermediate_size": 4864, "num_hidden_layers": 24,
 "num_attention_heads": 14, "num_key_value_heads": 2, "vocab_size": 151936, "max_position_embeddings": 32768, "rms_norm_eps": 1e-6,
 "rope_theta": 1000000.0, "tie_word_embeddings": true, "torch_dtype": "bfloat16", "hidden_act": "silu"}
JSON
[ -f "$work/model/model.safetensors" ] || "$fettle" init-model "$work/config" "$work/model"
awk 'BEGIN { srand(1); for (r = 0; r < 64; r++) { line = "{\"input_ids\":["; for (t = 0; t < 512; t++) line = line (t ? "," : "") int(rand() * 150000); print line "]}" } }' > "$work/rows.jsonl"
"$fettle" version
"$fettle" train model_name_or_path="$work/model" dataset="$work/rows.jsonl" output_dir="$work/out" overwrite_output_dir=true \
  lora_rank=16 lora_alpha=32 lora_target=all bf16=true per_device_train_batch_size=4 max_steps="$steps" logging_steps=1 \
  save_strategy=no 2>&1 | grep -E 'memory|parameters|train_loss'
awk -F'[:,]' '{ for (i = 1; i < NF; i++) if ($i ~ /throughput/) print "step " NR ": " $(i + 1) " tokens/s since the start" }' "$work/out/trainer_log.jsonl"
