"""Every method beside the others: speed and memory on a Qwen2.5-0.5B shape, final loss on the bundled model.

    python bench/methods.py [--fettle build/fettle] [--work build/bench-methods] [--only lora,dora]

Speed and memory: bf16, random weights, two rows of 512 tokens a step, gradient checkpointing, the median of the steps
after the first. Loss: the quickstart's model and 258 dialogues, 99 steps of 8 rows, mean of the last 10 steps; each
method with a learning rate that suits it. Writes results.json, results.md and results.png (matplotlib) into the work folder.
"""

import argparse
import json
import os
import pathlib
import random
import subprocess

from shapes import QWEN

ROOT = pathlib.Path(__file__).resolve().parents[1]
LORA = ["finetuning_type=lora", "lora_rank=16", "lora_alpha=32"]
# name: (options, learning rate on the bundled model)
METHODS = {
    "LoRA": (LORA, 2e-3),
    "rsLoRA": ([*LORA, "use_rslora=true"], 1e-3),
    "LoRA+": ([*LORA, "loraplus_lr_ratio=16"], 5e-4),
    "PiSSA": ([*LORA, "pissa_init=true", "pissa_iter=4"], 1e-3),
    "EVA": ([*LORA, "init_lora_weights=eva", "init_samples=8"], 2e-3),
    "CorDA": ([*LORA, "init_lora_weights=corda", "init_samples=8"], 1e-3),
    "LoRA-GA": ([*LORA, "init_lora_weights=lora_ga", "init_samples=8"], 1e-3),
    "LoftQ": ([*LORA, "init_lora_weights=loftq"], 2e-3),
    "DoRA": ([*LORA, "use_dora=true"], 2e-3),
    "QLoRA (NF4)": ([*LORA, "quantization_bit=4"], 2e-3),
    "LoRA on 8 bits": ([*LORA, "quantization_bit=8"], 2e-3),
    "AdaLoRA": (["finetuning_type=adalora", "init_r=24", "target_r=16", "lora_alpha=32", "tinit=1", "tfinal=1"], 5e-3),
    "LoHa": (["finetuning_type=loha", "lora_rank=8", "lora_alpha=16"], 3e-3),
    "LoKr": (["finetuning_type=lokr", "lora_rank=8", "lora_alpha=16"], 3e-3),
    "IA3": (["finetuning_type=ia3"], 2e-2),
    "VeRA": (["finetuning_type=vera", "vera_rank=256"], 1e-2),
    "OFT": (["finetuning_type=oft", "oft_block_size=32"], 2e-3),
    "BOFT": (["finetuning_type=boft", "boft_block_size=4"], 2e-3),
    "LN tuning": (["finetuning_type=ln_tuning"], 1e-2),
    "BitFit": (["finetuning_type=bitfit"], 1e-2),
    "prompt tuning": (["finetuning_type=prompt_tuning", "num_virtual_tokens=20"], 3e-2),
    "P-tuning": (["finetuning_type=p_tuning", "num_virtual_tokens=20", "encoder_hidden_size=128"], 3e-3),
    "prefix tuning": (["finetuning_type=prefix_tuning", "num_virtual_tokens=20"], 2e-2),
    "Houlsby": (["finetuning_type=bottleneck", "bottleneck_type=houlsby"], 2e-3),
    "Pfeiffer": (["finetuning_type=bottleneck", "bottleneck_type=pfeiffer"], 2e-3),
    "parallel adapter": (["finetuning_type=bottleneck", "bottleneck_type=parallel"], 1e-3),
    "AdapterFusion": (["finetuning_type=adapter_fusion"], 1e-3),  # of two Pfeiffer adapters, see fused()
    "freeze, 2 layers": (["finetuning_type=freeze", "freeze_trainable_layers=2"], 1e-3),
    "full": (["finetuning_type=full"], 1e-3),
    "full, Adafactor": (["finetuning_type=full", "optim=adafactor"], 1e-3),
    "full, GaLore": (["finetuning_type=full", "use_galore=true", "galore_rank=16", "galore_update_interval=50"], 1e-3),
}


def run(command, log):
    with open(log, "w") as out:
        process = subprocess.Popen([str(c) for c in command], stdout=out, stderr=subprocess.STDOUT)
        _, status, usage = os.wait4(process.pid, 0)
    if status != 0:
        raise RuntimeError(f"{command} ended with {status}; see {log}")
    return pathlib.Path(log).read_text(errors="replace"), usage.ru_maxrss * 1024


def fused(a, work, name, options, rate):
    """Two Pfeiffer adapters for AdapterFusion, trained on the same rows from different seeds."""
    folders = []
    for seed in (1, 2):
        out = work / f"{name}-{seed}"
        run([a.fettle, "train", f"output_dir={out}", f"seed={seed}", f"learning_rate={rate}", "overwrite_output_dir=true",
             "save_strategy=no", "plot_loss=false", "finetuning_type=bottleneck", *options], work / f"{name}-{seed}.log")  # fmt: skip
        folders.append(str(out))
    return ["adapter_name_or_path=" + ",".join(folders)]


def read_log(folder):
    return [line for line in map(json.loads, open(folder / "trainer_log.jsonl")) if "loss" in line]


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--fettle", default="build/fettle")
    p.add_argument("--work", default="build/bench-methods")
    p.add_argument("--model", default="", help="a folder of the Qwen2.5-0.5B shape that is already there")
    p.add_argument("--only", default="")
    p.add_argument("--steps", type=int, default=3)
    a = p.parse_args()
    work = pathlib.Path(a.work).resolve()
    work.mkdir(parents=True, exist_ok=True)
    model = pathlib.Path(a.model) if a.model else work / "qwen2.5-0.5b"
    if not (model / "model.safetensors").exists():
        (work / "config").mkdir(exist_ok=True)
        (work / "config" / "config.json").write_text(json.dumps(QWEN))
        subprocess.run([a.fettle, "init-model", work / "config", model], check=True)
    rng = random.Random(1)
    rows = work / "rows.jsonl"
    rows.write_text("".join(json.dumps({"input_ids": [rng.randrange(10, 150000) for _ in range(512)]}) + "\n" for _ in range(2 * (a.steps + 1))))
    quick = ROOT / "examples" / "quickstart"
    results = []
    for name, (options, rate) in METHODS.items():
        if a.only and name.lower() not in a.only.lower().split(","):
            continue
        slug = "".join(c if c.isalnum() else "-" for c in name.lower()).strip("-")
        out = work / slug
        common = ["overwrite_output_dir=true", "save_strategy=no", "plot_loss=false", "logging_steps=1"]
        wide = [f"model_name_or_path={model}", f"dataset={rows}", "bf16=true", "gradient_checkpointing=true", "per_device_train_batch_size=2"]
        small = [f"model_name_or_path={quick / 'base'}", "dataset=counselling", f"dataset_dir={quick / 'data'}", "template=chatml",
                 "per_device_train_batch_size=8", "lr_scheduler_type=cosine", "warmup_ratio=0.05", "threads=1"]  # fmt: skip
        of_wide, of_small = [], []
        if name == "AdapterFusion":
            of_wide = fused(a, work, "fused", [*wide, "max_steps=1"], 1e-5)
            of_small = fused(a, work, "fused-loss", [*small, "max_steps=49"], 2e-3)
        text, peak = run([a.fettle, "train", *wide, f"output_dir={out}", f"max_steps={a.steps + 1}", "learning_rate=1e-5", *common,
                          *options, *of_wide], work / f"{slug}.log")  # fmt: skip
        log = read_log(out)
        ends = [line["total_tokens"] / line["throughput"] for line in log]
        rates = sorted(1024 / (ends[i] - ends[i - 1]) for i in range(1, len(ends)))
        trainable = int(text.split("trainable params: ")[1].split()[0].replace(",", ""))
        run([a.fettle, "train", *small, f"output_dir={out}-loss", "max_steps=99", f"learning_rate={rate}", *common, *options,
             *of_small], work / f"{slug}-loss.log")  # fmt: skip
        losses = [line["loss"] for line in read_log(pathlib.Path(f"{out}-loss"))]
        result = dict(name=name, trainable=trainable, tokens_per_second=rates[len(rates) // 2], peak_bytes=peak,
                      first_loss=losses[0], final_loss=sum(losses[-10:]) / 10, options=options)  # fmt: skip
        results.append(result)
        print(f"{name:18s} {trainable:>12,d} {result['tokens_per_second']:8.1f} tokens/s {peak / 1e9:6.2f} GB  loss {losses[0]:.3f} -> {result['final_loss']:.3f}", flush=True)
    (work / "results.json").write_text(json.dumps(results, indent=1))
    lines = ["| method | trainable parameters | tokens/s | of LoRA's | peak memory | final loss |", "|---|---|---|---|---|---|"]
    lora = next((r for r in results if r["name"] == "LoRA"), results[0])
    for r in results:
        lines.append(f"| {r['name']} | {r['trainable']:,d} | {r['tokens_per_second']:.0f} | {100 * r['tokens_per_second'] / lora['tokens_per_second']:.0f}% | {r['peak_bytes'] / 1e9:.2f} GB | {r['final_loss']:.3f} |")
    (work / "results.md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))
    plot(results, work / "results.png")


def plot(results, path):
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    names = [r["name"] for r in results]
    fig, axes = plt.subplots(1, 4, figsize=(13, 0.28 * len(names) + 1), sharey=True)
    for axis, key, label, scale in zip(
        axes, ("tokens_per_second", "peak_bytes", "trainable", "final_loss"),
        ("tokens/s", "peak memory, GB", "trainable parameters", "final loss"), (1, 1e-9, 1, 1)
    ):  # fmt: skip
        axis.barh(names, [r[key] * scale for r in results], color="#c0392b" if key == "tokens_per_second" else "#7f8c8d")
        axis.set_xlabel(label)
    axes[2].set_xscale("log")
    axes[0].invert_yaxis()
    fig.tight_layout()
    fig.savefig(path, dpi=100)


if __name__ == "__main__":
    main()
