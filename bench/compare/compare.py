"""Fettle beside PyTorch + Transformers + PEFT on this machine: same model folders, token ids, masks and rates.

    python bench/compare/compare.py [--fettle build/fettle] [--work build/bench-compare] [--only a,c] [--steps 3]

Each run is a process of its own; the first step is left out; tokens are real ones (padding does not count). Losses of
each step must agree. Writes results.json, results.md and results.png into the work folder. Needs torch, transformers, peft,
bitsandbytes (workload e) and matplotlib for the plot.

Workloads, a Qwen2.5-0.5B shape with random weights unless said otherwise:
  a  rows of 512 tokens, all labelled, 4 a step         b  rows of 2048 tokens, one a step
  c  dialogues of mixed length with masked prompts, 8 a step; the peer pads to 512 as the tutorials do, and at its best:
     one row at a time without padding                  d  full fine-tuning, 2 rows of 512 a step
  e  QLoRA, 2 rows of 512 a step                        f  generation: a prompt of 512 tokens, 48 new ones
  g  a 30M Llama in f32, 8 rows of 256 a step
"""

import argparse
import json
import math
import os
import pathlib
import random
import resource
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from shapes import LLAMA, QWEN

EAGER, SDPA = ["--attention", "eager"], ["--attention", "sdpa"]


def measured(command, log):
    """Output and peak resident bytes of a process."""
    begin = time.perf_counter()
    with open(log, "w") as out:
        process = subprocess.Popen(list(map(str, command)), stdout=out, stderr=subprocess.STDOUT)
        _, status, usage = os.wait4(process.pid, 0)
    if status != 0:
        raise RuntimeError(f"{command[0]} ended with {status}; see {log}")
    return pathlib.Path(log).read_text(errors="replace"), usage.ru_maxrss * 1024, time.perf_counter() - begin


class Bench:
    def __init__(self, a):
        self.a, self.work = a, pathlib.Path(a.work).resolve()
        self.work.mkdir(parents=True, exist_ok=True)
        self.fettle = pathlib.Path(a.fettle).resolve()
        self.results = []

    def model(self, name, config, dtype):
        folder = self.work / name
        if not (folder / "model.safetensors").exists():
            source = self.work / (name + "-config")
            source.mkdir(exist_ok=True)
            (source / "config.json").write_text(json.dumps(config))
            subprocess.run([self.fettle, "init-model", source, folder, "--dtype", dtype], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        return folder

    def rows(self, name, lengths, vocab, masked=False):
        rng = random.Random(name)
        path = self.work / (name + ".jsonl")
        with open(path, "w") as out:
            for n in lengths:
                ids = [rng.randrange(10, vocab - 10) for _ in range(n)]
                prompt = int(n * rng.uniform(0.2, 0.6)) if masked else 0
                out.write(json.dumps({"input_ids": ids, "labels": [-100] * prompt + ids[prompt:]}) + "\n")
        return path

    def run_fettle(self, workload, model, rows, batch, options=()):
        out = self.work / "out"
        command = [self.fettle, "train", f"model_name_or_path={model}", f"dataset={rows}", f"output_dir={out}",
                   "overwrite_output_dir=true", f"per_device_train_batch_size={batch}", f"max_steps={self.a.steps + 1}",
                   "logging_steps=1", "save_strategy=no", "plot_loss=false", "disable_shuffling=true", "learning_rate=5e-5",
                   "lr_scheduler_type=constant", "weight_decay=0", "gradient_checkpointing=false", "cutoff_len=4096", *options]  # fmt: skip
        text, peak, seconds = measured(command, self.work / f"{workload}-fettle.log")
        log = [json.loads(line) for line in open(out / "trainer_log.jsonl")]
        log = [line for line in log if "loss" in line]
        ends = [line["total_tokens"] / line["throughput"] for line in log]
        steps = [
            dict(loss=line["loss"], tokens=line["total_tokens"] - (log[i - 1]["total_tokens"] if i else 0), seconds=ends[i] - (ends[i - 1] if i else 0))
            for i, line in enumerate(log)
        ]
        self.add(workload, "Fettle", steps, peak, seconds - ends[-1])

    def run_peer(self, workload, name, model, rows, batch, mode, dtype, options=()):
        command = [sys.executable, HERE / "peer.py", "--model", model, "--rows", rows, "--mode", mode, "--dtype", dtype,
                   "--batch", batch, "--steps", self.a.steps + 1, *options]  # fmt: skip
        text, peak, seconds = measured(command, self.work / f"{workload}-{name.replace(' ', '-')}.log")
        events = [json.loads(line[7:]) for line in text.splitlines() if line.startswith("RESULT ")]
        ready = next(e["seconds"] for e in events if e["event"] == "ready")
        self.add(workload, name, [e for e in events if e["event"] == "step"], peak, ready)

    def add(self, workload, name, steps, peak, ready):
        warm = steps[1:] or steps
        rates = sorted(s["tokens"] / s["seconds"] for s in warm)
        result = dict(workload=workload, name=name, tokens_per_second=rates[len(rates) // 2], peak_bytes=peak, ready_seconds=ready, losses=[s["loss"] for s in steps])
        first = next((r for r in self.results if r["workload"] == workload), None)
        if first:
            # The first losses come from equal weights; later ones also show equal updates.
            worst = max(abs(x - y) for x, y in zip(first["losses"], result["losses"]))
            result["loss_difference"] = worst
            if worst > self.a.tolerance:
                raise RuntimeError(f"{workload} {name}: losses differ by {worst}: {first['losses']} and {result['losses']}")
        self.results.append(result)
        print(f"{workload} {name:28s} {result['tokens_per_second']:9.1f} tokens/s {peak / 1e9:6.2f} GB  losses {['%.4f' % x for x in result['losses']]}", flush=True)

    def generation(self, model, rows):
        new = 48
        command = [self.fettle, "generate", "--model", model, "--file", rows, "-n"]
        text, peak, _ = measured([*command, new, "-v"], self.work / "f-fettle.log")
        first, _, _ = measured([*command, 1, "-v"], self.work / "f-fettle-1.log")
        seconds = lambda t: float(t.split("new tokens in ")[1].split(" s")[0])
        whole, prompt = seconds(text), seconds(first)
        length = len(json.loads(open(rows).readline())["input_ids"])
        ids = json.loads(next(line for line in text.splitlines() if line.startswith("{")))["ids"]
        self.add_generation("Fettle", length / prompt, (len(ids) - 1) / (whole - prompt), peak, ids)
        for name, dtype, attention in (("PyTorch bf16", "bfloat16", SDPA), ("PyTorch f32", "float32", SDPA)):
            text, peak, _ = measured([sys.executable, HERE / "peer.py", "--model", model, "--rows", rows, "--mode", "generate", "--dtype", dtype, "--steps", new, *attention], self.work / f"f-{dtype}.log")
            event = next(json.loads(line[7:]) for line in text.splitlines() if '"generate"' in line)
            self.add_generation(name, event["prompt"], event["decode"], peak, event["ids"])

    def add_generation(self, name, prompt, decode, peak, ids):
        self.results.append(dict(workload="f", name=name, prompt=prompt, decode=decode, peak_bytes=peak, ids=ids))
        print(f"f {name:28s} prompt {prompt:8.1f} tokens/s, decode {decode:6.1f} tokens/s, {peak / 1e9:.2f} GB", flush=True)

    def run(self):
        wanted = set(self.a.only.split(","))
        steps = self.a.steps + 1
        qwen = self.model("qwen2.5-0.5b", QWEN, "bf16") if wanted - {"g"} else None
        lora = ["lora_rank=16", "lora_alpha=32", "lora_target=all", "bf16=true", "lora_dropout=0"]
        if "a" in wanted:
            rows = self.rows("a", [512] * (4 * steps), 151936)
            self.run_fettle("a", qwen, rows, 4, lora)
            self.run_peer("a", "PEFT bf16 eager", qwen, rows, 4, "lora", "bfloat16", EAGER)
            self.run_peer("a", "PEFT bf16 sdpa", qwen, rows, 4, "lora", "bfloat16", SDPA)
            self.run_peer("a", "PEFT f32 sdpa", qwen, rows, 4, "lora", "float32", SDPA)
        if "b" in wanted:
            rows = self.rows("b", [2048] * steps, 151936)
            self.run_fettle("b", qwen, rows, 1, lora)
            self.run_peer("b", "PEFT bf16 sdpa", qwen, rows, 1, "lora", "bfloat16", SDPA)
        if "c" in wanted:
            rng = random.Random(3)
            lengths = [min(512, max(24, int(rng.lognormvariate(math.log(140), 0.6)))) for _ in range(8 * steps)]
            rows = self.rows("c", lengths, 151936, masked=True)
            self.run_fettle("c", qwen, rows, 8, lora)
            self.run_peer("c", "PEFT bf16 padded to 512", qwen, rows, 8, "lora", "bfloat16", [*EAGER, "--pad", 512])
            self.run_peer("c", "PEFT bf16 no padding", qwen, rows, 8, "lora", "bfloat16", [*SDPA, "--micro", 1])
        if "d" in wanted:
            rows = self.rows("d", [512] * (2 * steps), 151936)
            self.run_fettle("d", qwen, rows, 2, ["finetuning_type=full", "bf16=true"])
            self.run_peer("d", "PyTorch f32 sdpa", qwen, rows, 2, "full", "float32", SDPA)
        if "e" in wanted:
            rows = self.rows("e", [512] * (2 * steps), 151936)
            self.run_fettle("e", qwen, rows, 2, [*lora, "quantization_bit=4"])
            self.run_fettle("e-lora", qwen, rows, 2, lora)
            self.run_peer("e", "PEFT + bitsandbytes nf4", qwen, rows, 2, "qlora", "bfloat16", SDPA)
        if "f" in wanted:
            self.generation(qwen, self.rows("f", [512], 151936))
        if "g" in wanted:
            llama = self.model("llama-30m", LLAMA, "f32")
            rows = self.rows("g", [256] * (8 * steps), 24000)
            self.run_fettle("g", llama, rows, 8, ["lora_rank=16", "lora_alpha=32", "lora_target=all", "lora_dropout=0"])
            self.run_peer("g", "PEFT f32 eager", llama, rows, 8, "lora", "float32", EAGER)
            self.run_peer("g", "PEFT f32 sdpa", llama, rows, 8, "lora", "float32", SDPA)
        self.write()

    def write(self):
        (self.work / "results.json").write_text(json.dumps(self.results, indent=1))
        lines = ["| workload | | tokens/s | Fettle is | peak memory | of the peer's |", "|---|---|---|---|---|---|"]
        for r in self.results:
            ours = next((x for x in self.results if x["workload"] == r["workload"] and x["name"] == "Fettle"), None)
            speed = r.get("tokens_per_second") or r["decode"]
            base = ours.get("tokens_per_second") or ours["decode"] if ours else None
            ratio = "" if r is ours or not base else f"{base / speed:.2f}x"
            memory = "" if r is ours or not base else f"{100 * ours['peak_bytes'] / r['peak_bytes']:.0f}%"
            shown = f"{speed:.0f}" if "tokens_per_second" in r else f"prompt {r['prompt']:.0f}, decode {r['decode']:.1f}"
            lines.append(f"| {r['workload']} | {r['name']} | {shown} | {ratio} | {r['peak_bytes'] / 1e9:.2f} GB | {memory} |")
        (self.work / "results.md").write_text("\n".join(lines) + "\n")
        print("\n".join(lines))
        self.plot()

    def plot(self):
        import matplotlib

        matplotlib.use("Agg")
        import matplotlib.pyplot as plt

        shown = [r for r in self.results if "tokens_per_second" in r]
        names = [f"{r['workload']}  {r['name']}" for r in shown]
        colors = ["#c0392b" if r["name"] == "Fettle" else "#7f8c8d" for r in shown]
        fig, (left, right) = plt.subplots(1, 2, figsize=(11, 0.32 * len(shown) + 1.2), sharey=True)
        left.barh(names, [r["tokens_per_second"] for r in shown], color=colors)
        left.set_xlabel("tokens/s")
        left.set_xscale("log")
        right.barh(names, [r["peak_bytes"] / 1e9 for r in shown], color=colors)
        right.set_xlabel("peak memory, GB")
        left.invert_yaxis()
        fig.tight_layout()
        fig.savefig(self.work / "results.png", dpi=110)


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--fettle", default="build/fettle")
    p.add_argument("--work", default="build/bench-compare")
    p.add_argument("--only", default="a,b,c,d,e,f,g")
    p.add_argument("--steps", type=int, default=3, help="measured steps, after one that warms up")
    p.add_argument("--tolerance", type=float, default=0.02, help="between losses of bf16 and f32 runs")
    Bench(p.parse_args()).run()


if __name__ == "__main__":
    main()
