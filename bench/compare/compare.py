"""Fettle beside PyTorch + Transformers + PEFT on this machine: same model folders, token ids, masks and rates.

    python bench/compare/compare.py [--only a,c] [--steps 3] [--write docs/benchmarks.md]

Each run is a process of its own; the first step is left out; tokens are real ones (padding does not count). Losses of
each step must agree. Utilisation is the model's floating-point operations (bench/flops.py) a second over what bench_peak measures at
the start of the same run: a bf16 product of the same library, and multiply-adds in registers (f32 for a-30m). Writes
results.json, results.md and results.png into the work folder; workloads that are not run keep their last results (--only ""
writes them anew). Needs
torch, transformers, peft, bitsandbytes (workload e), matplotlib for the plot, and a build with -DFETTLE_BENCH=ON.

Workloads, a Qwen2.5-0.5B shape with random weights unless said otherwise, with the minutes of all their runs on two cores:
  a  rows of 512 tokens, all labelled, 4 a step (9)     b  rows of 2048 tokens, one a step (3)
  c  dialogues of mixed length with masked prompts, 8 a step; the peer pads to 512 as the tutorials do, and at its best does
     not: one row at a time, or all packed in one (4)   d  full fine-tuning, 2 rows of 512 a step (3)
  e  QLoRA, 2 rows of 512 a step (2)                    f  generation: a prompt of 512 tokens, 48 new ones (1)
  g  from the start of a process to one token of a model in the page cache, and merging an adapter into a new folder (2)
  a-30m   a 30M Llama in f32, 8 rows of 256 a step (1)  a-1.5b  DeepSeek-R1-Distill-Qwen-1.5B's shape, 2 rows of 512 (4)
"""

import argparse
import json
import math
import os
import pathlib
import random
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

import page
from flops import training_flops
from shapes import LLAMA, QWEN, QWEN_1_5B

WORKLOADS = ["a", "b", "c", "d", "e", "f", "g", "a-30m", "a-1.5b"]
EAGER, SDPA = ["--attention", "eager"], ["--attention", "sdpa"]
LORA = ["lora_rank=16", "lora_alpha=32", "lora_target=all", "lora_dropout=0"]


class Failed(RuntimeError):
    pass


def measured(command, log):
    """Output, peak resident bytes and seconds of a process."""
    begin = time.perf_counter()
    with open(log, "w") as out:
        process = subprocess.Popen(list(map(str, command)), stdout=out, stderr=subprocess.STDOUT)
        _, status, usage = os.wait4(process.pid, 0)
    text = pathlib.Path(log).read_text(errors="replace")
    if status != 0:
        reason = next((line for line in reversed(text.splitlines()) if "rror" in line), f"it ended with {status}")
        raise Failed(f"{reason.strip()[:200]} (all of it in {log})")
    return text, usage.ru_maxrss * 1024, time.perf_counter() - begin


@dataclass
class Workload:
    """Rows for a model, so many a step."""

    name: str
    config: dict
    model: pathlib.Path
    rows: pathlib.Path
    batch: int
    mode: str = "lora"

    def flops_per_token(self):
        tokens = flops = 0
        for row in map(json.loads, open(self.rows)):
            labelled = sum(label != -100 for label in row["labels"][1:])
            flops += training_flops(self.config, self.mode, [len(row["input_ids"])], labelled)
            tokens += len(row["input_ids"])
        return flops / tokens


class Bench:
    def __init__(self, a):
        self.a, self.work = a, pathlib.Path(a.work).resolve()
        self.work.mkdir(parents=True, exist_ok=True)
        self.fettle = pathlib.Path(a.fettle).resolve()
        wanted = [w for w in a.only.split(",") if w]
        if set(wanted) - set(WORKLOADS):
            sys.exit(f"--only {a.only}: the workloads are {', '.join(WORKLOADS)}")
        self.wanted = [w for w in WORKLOADS if w in wanted]
        old = self.work / "results.json"
        before = json.loads(old.read_text()) if old.exists() else []
        self.results = [r for r in before if r["workload"].removesuffix("-lora") not in wanted]
        peak = pathlib.Path(a.peak)
        if not peak.exists():
            sys.exit(f"{peak} is missing: configure with -DFETTLE_BENCH=ON and build bench_peak")
        self.peaks = json.loads(subprocess.run([peak], check=True, capture_output=True).stdout)
        print(f"{page.machine()}; {self.peaks}", flush=True)

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

    def run_fettle(self, w, options, name="Fettle"):
        out = self.work / "out"
        command = [self.fettle, "train", f"model_name_or_path={w.model}", f"dataset={w.rows}", f"output_dir={out}",
                   "overwrite_output_dir=true", f"per_device_train_batch_size={w.batch}", f"max_steps={self.a.steps + 1}",
                   "logging_steps=1", "save_strategy=no", "plot_loss=false", "disable_shuffling=true", "learning_rate=5e-5",
                   "lr_scheduler_type=constant", "weight_decay=0", "gradient_checkpointing=selective", "cutoff_len=4096", *options]  # fmt: skip
        text, peak, seconds = measured(command, self.work / f"{w.name}-fettle.log")
        log = [json.loads(line) for line in open(out / "trainer_log.jsonl")]
        log = [line for line in log if "loss" in line]
        ends = [line["total_tokens"] / line["throughput"] for line in log]
        steps = [
            dict(loss=line["loss"], tokens=line["total_tokens"] - (log[i - 1]["total_tokens"] if i else 0), seconds=ends[i] - (ends[i - 1] if i else 0))
            for i, line in enumerate(log)
        ]
        self.add(w, name, steps, peak, seconds - ends[-1])

    def run_peer(self, w, name, dtype, options=(), optional=False):
        """optional: a setting that may not work; then the table says why."""
        command = [sys.executable, HERE / "peer.py", "--model", w.model, "--rows", w.rows, "--mode", w.mode, "--dtype", dtype,
                   "--batch", w.batch, "--steps", self.a.steps + 1, *options]  # fmt: skip
        try:
            text, peak, _ = measured(command, self.work / f"{w.name}-{name.replace(' ', '-')}.log")
        except Failed as failure:
            if not optional:
                raise
            self.results.append(dict(workload=w.name, name=name, failure=str(failure)))
            print(f"{w.name} {name}: {failure}", flush=True)
            return
        events = [json.loads(line[7:]) for line in text.splitlines() if line.startswith("RESULT ")]
        ready = next(e["seconds"] for e in events if e["event"] == "ready")
        self.add(w, name, [e for e in events if e["event"] == "step"], peak, ready)

    def add(self, w, name, steps, peak, ready):
        warm = steps[1:] or steps
        rates = sorted(s["tokens"] / s["seconds"] for s in warm)
        speed = rates[len(rates) // 2]
        dtype = "f32" if w.config["torch_dtype"] == "float32" else "bf16"
        flops = speed * w.flops_per_token()
        result = dict(workload=w.name, name=name, tokens_per_second=speed, peak_bytes=peak, ready_seconds=ready,
                      of_gemm=flops / self.peaks[dtype + "_gemm"], of_peak=flops / self.peaks[dtype + "_peak"],
                      losses=[s["loss"] for s in steps])  # fmt: skip
        first = next((r for r in self.results if r["workload"] == w.name), None)
        if first:
            # The first losses come from equal weights; later ones also show equal updates.
            worst = max(abs(x - y) for x, y in zip(first["losses"], result["losses"]))
            result["loss_difference"] = worst
            if worst > self.a.tolerance:
                raise RuntimeError(f"{w.name} {name}: losses differ by {worst}: {first['losses']} and {result['losses']}")
        self.results.append(result)
        print(f"{w.name} {name:28s} {speed:9.1f} tokens/s {peak / 1e9:6.2f} GB  losses {['%.4f' % x for x in result['losses']]}", flush=True)

    def generation(self, model, rows):
        new = 48
        command = [self.fettle, "generate", "--model", model, "--file", rows, "-n"]
        text, peak, _ = measured([*command, new, "-v"], self.work / "f-fettle.log")
        first, _, _ = measured([*command, 1, "-v"], self.work / "f-fettle-1.log")
        seconds = lambda t: float(t.split("new tokens in ")[1].split(" s")[0])
        whole, prompt = seconds(text), seconds(first)
        length = len(json.loads(open(rows).readline())["input_ids"])
        ids = json.loads(next(line for line in text.splitlines() if line.startswith("{")))["ids"]
        weights = (model / "model.safetensors").stat().st_size
        self.add_generation("Fettle", length / prompt, (len(ids) - 1) / (whole - prompt), peak, ids, weights)
        for name, dtype, size in (("PyTorch bf16", "bfloat16", weights), ("PyTorch f32", "float32", 2 * weights)):
            text, peak, _ = measured([sys.executable, HERE / "peer.py", "--model", model, "--rows", rows, "--mode", "generate", "--dtype", dtype, "--steps", new], self.work / f"f-{dtype}.log")
            event = next(json.loads(line[7:]) for line in text.splitlines() if '"generate"' in line)
            self.add_generation(name, event["prompt"], event["decode"], peak, event["ids"], size)

    def add_generation(self, name, prompt, decode, peak, ids, weights):
        # A token reads every weight once: its share of what memory delivers.
        share = decode * weights / self.peaks["memory_bandwidth"]
        self.results.append(dict(workload="f", name=name, prompt=prompt, decode=decode, of_bandwidth=share, peak_bytes=peak, ids=ids))
        print(f"f {name:28s} prompt {prompt:8.1f} tokens/s, decode {decode:6.1f} tokens/s, {share:.0%} of the bandwidth, {peak / 1e9:.2f} GB", flush=True)

    def files(self, model):
        one = self.rows("g", [2], 151936)
        adapter, merged = self.work / "g-adapter", self.work / "g-merged"
        measured([self.fettle, "train", f"model_name_or_path={model}", f"dataset={one}", f"output_dir={adapter}", "overwrite_output_dir=true",
                  "max_steps=1", "plot_loss=false", "bf16=true", *LORA], self.work / "g-adapter.log")  # fmt: skip
        peer = [sys.executable, HERE / "peer.py", "--model", model, "--dtype", "bfloat16"]
        for name, load, merge in (
            ("Fettle", [self.fettle, "generate", "--model", model, "--file", one, "-n", 1],
             [self.fettle, "export", f"model_name_or_path={model}", f"adapter_name_or_path={adapter}", f"export_dir={merged}", "export_size=50"]),
            ("PyTorch, PEFT", [*peer, "--rows", one, "--mode", "generate", "--steps", 1], [*peer, "--mode", "merge", "--adapter", adapter, "--output", merged]),
        ):  # fmt: skip
            times, peak = [], 0
            for command in (load, merge):
                best = float("inf")
                for _ in range(2):  # the first one also fills the page cache
                    shutil.rmtree(merged, ignore_errors=True)
                    _, bytes_, seconds = measured(command, self.work / f"g-{name.split()[0].strip(',')}.log")
                    best, peak = min(best, seconds), max(peak, bytes_)
                times.append(best)
            shutil.rmtree(merged, ignore_errors=True)
            self.results.append(dict(workload="g", name=name, load_seconds=times[0], merge_seconds=times[1], peak_bytes=peak))
            print(f"g {name:28s} load {times[0]:.2f} s, merge {times[1]:.2f} s, {peak / 1e9:.2f} GB", flush=True)

    def run_one(self, name):
        steps = self.a.steps + 1
        if name == "a-30m":
            w = Workload(name, LLAMA, self.model("llama-30m", LLAMA, "f32"), self.rows(name, [256] * (8 * steps), 24000), 8)
            self.run_fettle(w, LORA)
            self.run_peer(w, "PEFT f32 eager", "float32", EAGER)
            self.run_peer(w, "PEFT f32 sdpa", "float32", SDPA)
            self.run_peer(w, "PEFT f32 sdpa compiled", "float32", [*SDPA, "--compile"], optional=True)
            return
        if name == "a-1.5b":
            w = Workload(name, QWEN_1_5B, self.model("deepseek-1.5b", QWEN_1_5B, "bf16"), self.rows(name, [512] * (2 * steps), 151936), 2)
            self.run_fettle(w, [*LORA, "bf16=true"])
            self.run_peer(w, "PEFT bf16 sdpa", "bfloat16", SDPA)
            return
        qwen = self.model("qwen2.5-0.5b", QWEN, "bf16")
        workload = lambda lengths, batch, mode="lora", masked=False: Workload(name, QWEN, qwen, self.rows(name, lengths, 151936, masked), batch, mode)
        if name == "a":
            w = workload([512] * (4 * steps), 4)
            self.run_fettle(w, [*LORA, "bf16=true"])
            self.run_peer(w, "PEFT bf16 eager", "bfloat16", EAGER)
            self.run_peer(w, "PEFT bf16 sdpa", "bfloat16", SDPA)
            self.run_peer(w, "PEFT bf16 sdpa compiled", "bfloat16", [*SDPA, "--compile"], optional=True)
            self.run_peer(w, "PEFT f32 sdpa", "float32", SDPA)
        elif name == "b":
            w = workload([2048] * steps, 1)
            self.run_fettle(w, [*LORA, "bf16=true"])
            self.run_peer(w, "PEFT bf16 sdpa", "bfloat16", SDPA)
        elif name == "c":
            rng = random.Random(3)
            w = workload([min(512, max(24, int(rng.lognormvariate(math.log(140), 0.6)))) for _ in range(8 * steps)], 8, masked=True)
            self.run_fettle(w, [*LORA, "bf16=true"])
            self.run_fettle(w, [*LORA, "bf16=true", "per_device_train_batch_tokens=512"], "Fettle, 512 tokens a pass")
            self.run_peer(w, "PEFT bf16 padded to 512", "bfloat16", [*EAGER, "--pad", 512])
            self.run_peer(w, "PEFT bf16 no padding", "bfloat16", [*SDPA, "--micro", 1])
            self.run_peer(w, "PEFT bf16 packed", "bfloat16", [*SDPA, "--packed"])
        elif name == "d":
            w = workload([512] * (2 * steps), 2, "full")
            self.run_fettle(w, ["finetuning_type=full", "bf16=true"])
            self.run_peer(w, "PyTorch f32 sdpa", "float32", SDPA)
        elif name == "e":
            w = workload([512] * (2 * steps), 2, "qlora")
            self.run_fettle(w, [*LORA, "bf16=true", "quantization_bit=4"])
            self.run_peer(w, "PEFT + bitsandbytes nf4", "bfloat16", SDPA)
            w.name = "e-lora"
            self.run_fettle(w, [*LORA, "bf16=true"])
        elif name == "f":
            self.generation(qwen, self.rows("f", [512], 151936))
        elif name == "g":
            self.files(qwen)

    def run(self):
        for name in self.wanted:
            self.run_one(name)
            self.results.sort(key=lambda r: WORKLOADS.index(r["workload"].removesuffix("-lora")))
            (self.work / "results.json").write_text(json.dumps(self.results, indent=1))
        self.write()

    def write(self):
        table = page.table(["workload", "", "tokens/s", "Fettle is", "of the product", "of registers", "peak memory", "of the peer's", "start"], [self.line(r) for r in self.results])
        failures = [f"{r['name']} did not work in {r['workload']}: {r['failure']}" for r in self.results if "failure" in r]
        text = "\n\n".join([table, *failures])
        (self.work / "results.md").write_text(text + "\n")
        print(text)
        self.plot(self.work / "results.png")
        if self.a.write:
            path = pathlib.Path(self.a.write)
            page.replace(path, "compare", f"{page.machine()}.\n\n{text}")
            shutil.copy(self.work / "results.png", path.parent / "compare.png")

    def line(self, r):
        ours = next((x for x in self.results if x["workload"] == r["workload"] and x["name"] == "Fettle"), None)
        if "failure" in r:
            return [r["workload"], r["name"], "-", "", "", "", "", "", ""]
        peer = ours is not None and not r["name"].startswith("Fettle")
        times = lambda key: f"{ours[key] / r[key]:.2f}x" if peer else ""
        faster = lambda key: f"{r[key] / ours[key]:.2f}x" if peer else ""
        memory = [f"{r['peak_bytes'] / 1e9:.2f} GB", f"{100 * ours['peak_bytes'] / r['peak_bytes']:.0f}%" if peer else ""]
        if "decode" in r:
            both = f"{times('prompt')}, {times('decode')}" if peer else ""
            return ["f", r["name"], f"prompt {r['prompt']:.0f}, decode {r['decode']:.1f}", both, "", f"{r['of_bandwidth']:.0%} of bandwidth", *memory, ""]
        if "load_seconds" in r:
            both = f"{faster('load_seconds')}, {faster('merge_seconds')}" if peer else ""
            return ["g", r["name"], f"load {r['load_seconds']:.2f} s, merge {r['merge_seconds']:.2f} s", both, "", "", *memory, ""]
        return [r["workload"], r["name"], f"{r['tokens_per_second']:.0f}", times("tokens_per_second"), f"{r['of_gemm']:.0%}", f"{r['of_peak']:.0%}", *memory,
                f"{r['ready_seconds']:.1f} s"]  # fmt: skip

    def plot(self, path):
        import matplotlib

        matplotlib.use("Agg")
        import matplotlib.pyplot as plt

        shown = [r for r in self.results if "tokens_per_second" in r]
        if not shown:
            return
        names = [f"{r['workload']}  {r['name']}" for r in shown]
        colors = ["#c0392b" if r["name"].startswith("Fettle") else "#7f8c8d" for r in shown]
        fig, axes = plt.subplots(1, 3, figsize=(13, 0.3 * len(shown) + 1.2), sharey=True)
        for axis, values, label in zip(
            axes,
            ([r["tokens_per_second"] for r in shown], [100 * r["of_peak"] for r in shown], [r["peak_bytes"] / 1e9 for r in shown]),
            ("tokens/s", "model FLOPs, % of the register-resident peak", "peak memory, GB"),
        ):
            axis.barh(names, values, color=colors)
            axis.set_xlabel(label)
        axes[0].set_xscale("log")
        axes[0].invert_yaxis()
        fig.tight_layout()
        fig.savefig(path, dpi=110)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--fettle", default="build/fettle")
    p.add_argument("--peak", default="build/bench/bench_peak")
    p.add_argument("--work", default="build/bench-compare")
    p.add_argument("--only", default=",".join(WORKLOADS))
    p.add_argument("--steps", type=int, default=3, help="measured steps, after one that warms up")
    p.add_argument("--tolerance", type=float, default=0.02, help="between losses of bf16 and f32 runs")
    p.add_argument("--write", default="", help="a Markdown file to put the table into, with compare.png beside it")
    Bench(p.parse_args()).run()


if __name__ == "__main__":
    main()
