"""Predicted and measured peak memory of every method, optimizer and way to begin.

    python bench/memory.py [--fettle build/fettle] [--work build/bench-memory] [--only LORA,FULL] [--threads 2]

Each line is a run of one step (of mixed lengths: eight) of `fettle train` as a process of its own on a model of random weights; measured is its
largest resident set (ru_maxrss), predicted what it printed before its first step. Writes results.json and results.md.
"""

import argparse
import json
import os
import pathlib
import random
import re
import subprocess

SMALL = {
    "architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2", "hidden_size": 640, "intermediate_size": 1728,
    "num_hidden_layers": 8, "num_attention_heads": 10, "num_key_value_heads": 5, "vocab_size": 24000,
    "max_position_embeddings": 4096, "rms_norm_eps": 1e-6, "rope_theta": 1000000.0, "tie_word_embeddings": True,
    "torch_dtype": "bfloat16", "hidden_act": "silu",
}  # fmt: skip
# Wider, deeper, an untied head.
LARGE = {
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 1024, "intermediate_size": 2816,
    "num_hidden_layers": 16, "num_attention_heads": 16, "num_key_value_heads": 4, "vocab_size": 48000,
    "max_position_embeddings": 4096, "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "tie_word_embeddings": False,
    "torch_dtype": "bfloat16", "hidden_act": "silu",
}  # fmt: skip
LORA = ["finetuning_type=lora", "lora_rank=16", "lora_alpha=32"]
FULL = ["finetuning_type=full"]
F32, NO_GC, BF16 = ["bf16=false"], ["gradient_checkpointing=false"], ["bf16=true"]
FP16 = ["bf16=false", "fp16=true"]


def rows(batch, length):
    return [f"per_device_train_batch_size={batch}", f"cutoff_len={length}"]


# name: (shape, options)
RUNS = {
    "LoRA": ("small", LORA),
    "LoRA, f32": ("small", [*LORA, *F32]),
    "LoRA, fp16": ("small", [*LORA, *FP16]),
    "LoRA, selective checkpointing": ("small", [*LORA, "gradient_checkpointing=selective"]),
    "full, fp16": ("small", [*FULL, *FP16]),
    "LoRA, no checkpointing": ("small", [*LORA, *NO_GC]),
    "LoRA, f32, no checkpointing": ("small", [*LORA, *F32, *NO_GC]),
    "LoRA, dropout": ("small", [*LORA, "lora_dropout=0.1"]),
    "LoRA, one row of 256": ("small", [*LORA, *rows(1, 256)]),
    "LoRA, 8 rows of 512": ("small", [*LORA, *rows(8, 512)]),
    "LoRA, 8 rows of 512, no checkpointing": ("small", [*LORA, *rows(8, 512), *NO_GC]),
    "LoRA, rows of 40 to 512": ("mixed", [*LORA, *rows(4, 512), *NO_GC]),
    "LoRA, rows of 40 to 512, checkpointing": ("mixed", [*LORA, *rows(4, 512)]),
    "full, rows of 40 to 512": ("mixed", [*FULL, *rows(4, 512)]),
    **{f"LoRA, {init}": ("small", [*LORA, f"init_lora_weights={init}", *more]) for init, more in {
        "pissa": [], "pissa_niter_4": [], "olora": [], "orthogonal": [], "gaussian": [], "eva": ["init_samples=4"],
        "corda": ["init_samples=4"], "lora_ga": ["init_samples=4"], "loftq": []}.items()},
    "rsLoRA": ("small", [*LORA, "use_rslora=true"]),
    "LoRA+": ("small", [*LORA, "loraplus_lr_ratio=16"]),
    "DoRA": ("small", [*LORA, "use_dora=true"]),
    "DoRA, no checkpointing": ("small", [*LORA, "use_dora=true", *NO_GC]),
    "LoRA, embeddings and head": ("small", [*LORA, "additional_target=embed_tokens,lm_head"]),
    "QLoRA, NF4": ("small", [*LORA, "quantization_bit=4"]),
    "QLoRA, NF4, f32": ("small", [*LORA, "quantization_bit=4", *F32]),
    "QLoRA, 4 rows of 1024": ("small", [*LORA, "quantization_bit=4", *rows(4, 1024)]),
    "LoRA on 8 bits": ("small", [*LORA, "quantization_bit=8"]),
    "AdaLoRA": ("small", ["finetuning_type=adalora", "init_r=24", "target_r=16", "lora_alpha=32", "tinit=0", "tfinal=0"]),
    "LoHa": ("small", ["finetuning_type=loha", "lora_rank=8", "lora_alpha=16"]),
    "LoHa, f32, no checkpointing": ("small", ["finetuning_type=loha", "lora_rank=8", "lora_alpha=16", *F32, *NO_GC]),
    "LoKr": ("small", ["finetuning_type=lokr", "lora_rank=8", "lora_alpha=16"]),
    "IA3": ("small", ["finetuning_type=ia3"]),
    "VeRA": ("small", ["finetuning_type=vera", "vera_rank=256"]),
    "OFT": ("small", ["finetuning_type=oft", "oft_block_size=32"]),
    "OFT, no checkpointing": ("small", ["finetuning_type=oft", "oft_block_size=32", *NO_GC]),
    "BOFT": ("small", ["finetuning_type=boft", "boft_block_size=4"]),
    "LN tuning": ("small", ["finetuning_type=ln_tuning"]),
    "BitFit": ("small", ["finetuning_type=bitfit"]),
    "prompt tuning": ("small", ["finetuning_type=prompt_tuning", "num_virtual_tokens=20"]),
    "P-tuning": ("small", ["finetuning_type=p_tuning", "num_virtual_tokens=20", "encoder_hidden_size=128"]),
    "prefix tuning": ("small", ["finetuning_type=prefix_tuning", "num_virtual_tokens=20"]),
    "Houlsby": ("small", ["finetuning_type=bottleneck", "bottleneck_type=houlsby"]),
    "Pfeiffer": ("small", ["finetuning_type=bottleneck", "bottleneck_type=pfeiffer"]),
    "AdapterFusion of two": ("small", ["finetuning_type=adapter_fusion", "adapter_name_or_path={work}/one,{work}/two"]),
    "parallel adapter": ("small", ["finetuning_type=bottleneck", "bottleneck_type=parallel"]),
    "freeze, 2 layers": ("small", ["finetuning_type=freeze", "freeze_trainable_layers=2"]),
    "full": ("small", FULL),
    "full, f32": ("small", [*FULL, *F32]),
    "full, no checkpointing": ("small", [*FULL, *NO_GC]),
    "full, 8 rows of 512": ("small", [*FULL, *rows(8, 512)]),
    "full, pure_bf16": ("small", [*FULL, "pure_bf16=true"]),
    **{f"full, {name}": ("small", [*FULL, f"optim={name}", *(["lr_scheduler_type=constant"] if "free" in name else [])]) for name in (
        "adamw_8bit", "sgd", "adagrad", "rmsprop", "lion", "lion_8bit", "adafactor",
        "schedule_free_adamw", "schedule_free_sgd")},
    # Its state comes into memory with the first update, so the peak is that of the second step.
    "full, paged_adamw_32bit": ("small", [*FULL, "optim=paged_adamw_32bit", "max_steps=2"]),
    "full, Muon": ("small", [*FULL, "use_muon=true"]),
    "full, GaLore": ("small", [*FULL, "use_galore=true", "galore_rank=16"]),
    "full, APOLLO": ("small", [*FULL, "use_apollo=true", "apollo_rank=16"]),
    "LoRA, larger model": ("large", [*LORA, *rows(2, 768)]),
    "LoRA, larger model, no checkpointing": ("large", [*LORA, *rows(2, 768), *NO_GC]),
    "QLoRA, larger model": ("large", [*LORA, "quantization_bit=4", *rows(2, 768)]),
    "full, larger model": ("large", [*FULL, *rows(1, 512)]),
}  # fmt: skip


def measure(command, log):
    with open(log, "w") as out:
        process = subprocess.Popen([str(c) for c in command], stdout=out, stderr=subprocess.STDOUT)
        _, status, usage = os.wait4(process.pid, 0)
    if status != 0:
        raise RuntimeError(f"{' '.join(map(str, command))} ended with {status}; see {log}")
    return pathlib.Path(log).read_text(errors="replace"), usage.ru_maxrss * 1024


def in_bytes(text):
    number, unit = text.split()
    return float(number) * {"B": 1, "kB": 1e3, "MB": 1e6, "GB": 1e9}[unit]


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--fettle", default="build/fettle")
    p.add_argument("--work", default="build/bench-memory")
    p.add_argument("--only", default="", help="names, or parts of them, between semicolons")
    p.add_argument("--threads", type=int, default=2)
    a = p.parse_args()
    work = pathlib.Path(a.work).resolve()
    work.mkdir(parents=True, exist_ok=True)
    rng = random.Random(1)
    for name, config in {"small": SMALL, "large": LARGE}.items():
        if not (work / name / "model.safetensors").exists():
            (work / f"{name}-config").mkdir(exist_ok=True)
            (work / f"{name}-config" / "config.json").write_text(json.dumps(config))
            subprocess.run([a.fettle, "init-model", work / f"{name}-config", work / name], check=True)
    for name, lengths in {"rows": [1024] * 64, "mixed": [rng.randrange(40, 512) for _ in range(64)]}.items():
        (work / f"{name}.jsonl").write_text(
            "".join(json.dumps({"input_ids": [rng.randrange(10, 23000) for _ in range(n)]}) + "\n" for n in lengths))
    for name in ("one", "two"):
        if not (work / name / "adapter.safetensors").exists():
            command = [a.fettle, "-q", "train", f"model_name_or_path={work / 'small'}", f"dataset={work / 'rows'}.jsonl",
                       f"output_dir={work / name}", "finetuning_type=bottleneck", "max_steps=1", "cutoff_len=32", "plot_loss=false",
                       "save_strategy=no"]  # fmt: skip
            subprocess.run(command, check=True)
    results, lines = [], ["| run | predicted | measured | error |", "|---|---|---|---|"]
    for name, (shape, options) in RUNS.items():
        if a.only and not any(part.strip().lower() in name.lower() for part in a.only.split(";")):
            continue
        mixed = shape == "mixed"
        command = [a.fettle, "train", f"model_name_or_path={work / ('small' if mixed else shape)}",
                   f"dataset={work / ('mixed' if mixed else 'rows')}.jsonl", f"output_dir={work / 'out'}",
                   f"threads={a.threads}", "bf16=true", f"max_steps={8 if mixed else 1}", "per_device_train_batch_size=2",
                   "cutoff_len=512", "overwrite_output_dir=true", "save_strategy=no", "plot_loss=false",
                   "learning_rate=1e-5", *([] if any(o.startswith("gradient_checkpointing") for o in options) else ["gradient_checkpointing=true"]),
                   *(o.replace("{work}", str(work)) for o in options)]  # fmt: skip
        text, measured = measure(command, work / "log.txt")
        predicted = in_bytes(re.search(r"([\d.]+ [kMG]?B) predicted peak", text).group(1))
        error = predicted / measured - 1
        results.append({"name": name, "predicted": predicted, "measured": measured, "options": options})
        lines.append(f"| {name} | {predicted / 1e6:.0f} MB | {measured / 1e6:.0f} MB | {100 * error:+.1f}% |")
        print(f"{name:42s} {predicted / 1e6:8.0f} {measured / 1e6:8.0f} MB {100 * error:+6.1f}%", flush=True)
    (work / "results.json").write_text(json.dumps(results, indent=1))
    worst = max(results, key=lambda r: abs(r["predicted"] / r["measured"] - 1))
    within = sum(abs(r["predicted"] / r["measured"] - 1) <= 0.1 for r in results)
    (work / "results.md").write_text("\n".join(lines) + "\n")
    print(f"{within} of {len(results)} within 10%; the furthest is {worst['name']}")


if __name__ == "__main__":
    main()
