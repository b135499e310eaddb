"""How cost grows: tokens/s and peak memory of LoRA training against the length of sequences (to 32k), the rows of a
micro-batch, the rank and the number of layers, beside what theory says.

    python bench/scaling.py [--fettle build/fettle] [--longest 32768] [--write docs/benchmarks.md]

About ten minutes on two cores. A small Qwen2 (4 layers, hidden size 256, bf16, random weights), each point a process of its own, the
first step left out. Theory of speed: the operations of a token (flops.py) against those of the first point of the same curve, at the same
operations a second. Theory of memory: a straight line from the first point to the last, since all that a pass keeps is
proportional to its tokens and layers. Writes scaling.json and scaling.png (matplotlib) into the work folder, and with --write a
table into a Markdown file, with scaling.png beside it.
"""

import argparse
import json
import os
import pathlib
import random
import shutil
import subprocess

import page
from flops import training_flops
from shapes import QWEN

SMALL = {**QWEN, "hidden_size": 256, "intermediate_size": 768, "num_hidden_layers": 4, "num_attention_heads": 4, "vocab_size": 8192}
TOKENS = 4096  # a pass, where the length of sequences is not what grows


class Runs:
    def __init__(self, a):
        self.a, self.work = a, pathlib.Path(a.work).resolve()
        self.work.mkdir(parents=True, exist_ok=True)

    def model(self, layers):
        folder = self.work / f"model-{layers}"
        if not (folder / "model.safetensors").exists():
            source = self.work / f"config-{layers}"
            source.mkdir(exist_ok=True)
            (source / "config.json").write_text(json.dumps({**SMALL, "num_hidden_layers": layers}))
            subprocess.run([self.a.fettle, "init-model", source, folder], check=True, capture_output=True)
        return folder

    def point(self, x, length=512, rows=TOKENS // 512, rank=16, layers=4, checkpointing=False):
        """Speed and memory of one setting; `x` is what it is drawn at."""
        tokens = length * rows
        steps = 2 if tokens > 8192 else 4
        rng = random.Random(length)
        data, out, log = self.work / "rows.jsonl", self.work / "out", self.work / "train.log"
        with open(data, "w") as file:
            for _ in range(rows * steps):
                file.write(json.dumps({"input_ids": [rng.randrange(10, SMALL["vocab_size"]) for _ in range(length)]}) + "\n")
        command = [self.a.fettle, "train", f"model_name_or_path={self.model(layers)}", f"dataset={data}", f"output_dir={out}", "overwrite_output_dir=true",
                   f"per_device_train_batch_size={rows}", f"max_steps={steps}", "logging_steps=1", "save_strategy=no", "plot_loss=false", "bf16=true",
                   f"cutoff_len={length}", f"lora_rank={rank}", "lora_target=all", f"gradient_checkpointing={str(checkpointing).lower()}"]  # fmt: skip
        with open(log, "w") as file:
            process = subprocess.Popen(list(map(str, command)), stdout=file, stderr=subprocess.STDOUT)
            _, status, usage = os.wait4(process.pid, 0)
        if status != 0:
            raise SystemExit(f"fettle ended with {status}; see {log}")
        lines = [line for line in map(json.loads, open(out / "trainer_log.jsonl")) if "loss" in line]
        ends = [line["total_tokens"] / line["throughput"] for line in lines]
        best = min(ends[i] - ends[i - 1] for i in range(1, len(ends)))
        flops = training_flops({**SMALL, "num_hidden_layers": layers}, "lora", [length] * rows, (length - 1) * rows, rank) / tokens
        point = dict(x=x, tokens_per_second=tokens / best, peak_bytes=usage.ru_maxrss * 1024, flops_per_token=flops)
        print(f"{length} tokens x {rows} rows, rank {rank}, {layers} layers{', checkpointing' if checkpointing else ''}: "
              f"{point['tokens_per_second']:.0f} tokens/s, {point['peak_bytes'] / 1e6:.0f} MB", flush=True)  # fmt: skip
        return point

    def curves(self):
        lengths = [n for n in (256, 512, 1024, 2048, 4096, 8192, 16384, 32768) if n <= self.a.longest]
        by_length = lambda checkpointing: [self.point(n, n, max(1, TOKENS // n), checkpointing=checkpointing) for n in lengths]
        return {
            "tokens of a sequence": by_length(False),
            "tokens of a sequence, checkpointing": by_length(True),
            "rows of 512 tokens a pass": [self.point(n, rows=n) for n in (1, 2, 4, 8, 16, 32)],
            "rank": [self.point(n, rank=n) for n in (4, 16, 64, 128, 256)],
            "layers": [self.point(n, layers=n) for n in (2, 4, 8, 16, 32)],
        }


def speed_by_theory(points):
    return [points[0]["tokens_per_second"] * points[0]["flops_per_token"] / p["flops_per_token"] for p in points]


def memory_by_theory(points, grows):
    first, last = points[0], points[-1]
    slope = (last["peak_bytes"] - first["peak_bytes"]) / max(1, grows(last) - grows(first))
    return [first["peak_bytes"] + slope * (grows(p) - grows(first)) for p in points]


def tokens_of_a_pass(name):
    """What memory is proportional to, at a point of the curve."""
    return (lambda p: max(p["x"], TOKENS)) if name.startswith("tokens") else (lambda p: p["x"])


def plot(curves, path):
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    columns = [name for name in curves if "checkpointing" not in name]
    fig, axes = plt.subplots(2, len(columns), figsize=(15, 6.4), squeeze=False)
    for column, name in enumerate(columns):
        speed, memory = axes[0][column], axes[1][column]
        for curve, color in ((name, "#c0392b"), (name + ", checkpointing", "#2c3e50")):
            if curve not in curves:
                continue
            points, label = curves[curve], "checkpointing" if "checkpointing" in curve else "measured"
            x = [p["x"] for p in points]
            speed.plot(x, [p["tokens_per_second"] for p in points], "o-", color=color, label=label)
            speed.plot(x, speed_by_theory(points), "--", color=color, alpha=0.5, label="theory")
            memory.plot(x, [p["peak_bytes"] / 1e6 for p in points], "o-", color=color, label=label)
            memory.plot(x, [y / 1e6 for y in memory_by_theory(points, tokens_of_a_pass(curve))], "--", color=color, alpha=0.5, label="linear")
        for axis in (speed, memory):
            axis.set_xscale("log", base=2)
            axis.set_xlabel(name)
            axis.set_ylim(bottom=0)
            axis.grid(alpha=0.25)
            axis.legend(fontsize=8)
        speed.set_ylabel("tokens/s")
        memory.set_ylabel("peak memory, MB")
    fig.tight_layout()
    fig.savefig(path, dpi=100)


def summary(curves):
    """Ends of each curve: how far speed and memory are from theory there."""
    rows = []
    for name, points in curves.items():
        first, last = points[0], points[-1]
        rows.append([name, f"{first['x']} to {last['x']}", f"{first['tokens_per_second']:.0f} to {last['tokens_per_second']:.0f}",
                     f"{last['tokens_per_second'] / speed_by_theory(points)[-1]:.2f}x",
                     f"{first['peak_bytes'] / 1e6:.0f} to {last['peak_bytes'] / 1e6:.0f} MB"])  # fmt: skip
    return page.table(["grows", "from, to", "tokens/s", "of the theory at the end", "peak memory"], rows)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--fettle", default="build/fettle")
    p.add_argument("--work", default="build/bench-scaling")
    p.add_argument("--longest", type=int, default=32768, help="tokens of the longest sequence")
    p.add_argument("--write", default="", help="a Markdown file to put the table into, with scaling.png beside it")
    runs = Runs(p.parse_args())
    curves = runs.curves()
    (runs.work / "scaling.json").write_text(json.dumps(curves, indent=1))
    plot(curves, runs.work / "scaling.png")
    table = summary(curves)
    print(table)
    if runs.a.write:
        path = pathlib.Path(runs.a.write)
        page.replace(path, "scaling", f"{page.machine()}.\n\n{table}")
        shutil.copy(runs.work / "scaling.png", path.parent / "scaling.png")


if __name__ == "__main__":
    main()
