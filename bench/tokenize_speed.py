#!/usr/bin/env python3
"""Tokenizer speed on one thread, beside Hugging Face `tokenizers` in the same run.

    cmake -B build -DFETTLE_BENCH=ON && cmake --build build --target bench_tokenize
    python3 bench/tokenize_speed.py --bench build/bench/bench_tokenize --text english.txt chinese.txt code.txt -- DIR [DIR ...]

Every DIR is a tokenizer folder, every text a UTF-8 file that is encoded line by line without special tokens. Both sides are
timed in turn, best of several passes, with one thread each; the token counts must agree. Needs `pip install tokenizers`.
"""
import argparse
import json
import os
import subprocess
import sys
import time

os.environ["TOKENIZERS_PARALLELISM"] = "false"
import tokenizers  # noqa: E402


def peer(folder, path, passes):
    tokenizer = tokenizers.Tokenizer.from_file(os.path.join(folder, "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    with open(path, encoding="utf-8", newline="\n") as file:
        lines = file.read().split("\n")
    if lines and not lines[-1]:
        lines.pop()
    best, tokens = float("inf"), 0
    for _ in range(passes):
        start = time.perf_counter()
        tokens = sum(len(tokenizer.encode(line, add_special_tokens=False).ids) for line in lines)
        best = min(best, time.perf_counter() - start)
        # Its call without offsets, one batch on one thread.
        start = time.perf_counter()
        tokenizer.encode_batch_fast(lines, add_special_tokens=False)
        best = min(best, time.perf_counter() - start)
    return best, tokens


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--bench", default="build/bench/bench_tokenize")
    parser.add_argument("--text", nargs="+", required=True)
    parser.add_argument("--passes", type=int, default=5)
    parser.add_argument("folders", nargs="+")
    arguments = parser.parse_args()
    pin = ["taskset", "-c", "0"] if os.path.exists("/usr/bin/taskset") else []
    if pin:
        os.sched_setaffinity(0, {0})
    print(f"tokenizers {tokenizers.__version__}, one thread, best of {arguments.passes}")
    print(f"{'tokenizer':28} {'text':14} {'MB':>6} {'tokens':>9} {'HF MB/s':>9} {'fettle MB/s':>12} {'ratio':>7}")
    worst = float("inf")
    for folder in arguments.folders:
        for path in arguments.text:
            own = json.loads(subprocess.run([*pin, arguments.bench, folder, path, str(arguments.passes)], check=True, capture_output=True).stdout)
            seconds, tokens = peer(folder, path, arguments.passes)
            if tokens != own["tokens"]:
                sys.exit(f"{folder} on {path}: {own['tokens']} tokens, tokenizers gives {tokens}")
            megabytes = own["bytes"] / 1e6
            ratio = seconds / own["encode_s"]
            worst = min(worst, ratio)
            print(f"{os.path.basename(folder.rstrip('/')):28} {os.path.basename(path):14} {megabytes:6.2f} {tokens:9} {megabytes / seconds:9.2f} {megabytes / own['encode_s']:12.1f} {ratio:6.1f}x", flush=True)
    print(f"smallest ratio {worst:.1f}x")


if __name__ == "__main__":
    main()
