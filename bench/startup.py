"""Seconds from the command to the first new token and to the first step of training, the weights in the page cache.

    python bench/startup.py --model FOLDER [--fettle build/fettle] [--write docs/benchmarks.md] [--runs 3]

`fettle generate` answers a prompt of two tokens with one; `fettle train` (LoRA on all linears, bf16) is ready when it has printed what it
will do. The best of the runs counts; what came before has filled the page cache, as far as it holds the model.
"""

import argparse
import json
import pathlib
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).parent))
import page


def seconds_until(command, mark):
    """Until a line of the output begins with `mark`; the process is then let run to its end."""
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, bufsize=1)
    seen, text = None, []
    for line in process.stdout:
        text.append(line)
        if seen is None and line.lstrip("\r").startswith(mark):
            seen = time.perf_counter() - start
    if process.wait() != 0 or seen is None:
        raise SystemExit("".join(text))
    return seen


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=pathlib.Path, required=True)
    parser.add_argument("--fettle", default="build/fettle")
    parser.add_argument("--write", type=pathlib.Path)
    parser.add_argument("--runs", type=int, default=3)
    a = parser.parse_args()
    with tempfile.TemporaryDirectory() as work:
        rows = pathlib.Path(work, "rows.jsonl")
        rows.write_text(json.dumps({"input_ids": [1, 2], "labels": [1, 2]}) + "\n")
        generate = [a.fettle, "generate", "--model", a.model, "--file", rows, "-n", "1"]
        train = [a.fettle, "train", f"model_name_or_path={a.model}", f"dataset={rows}", f"output_dir={work}/out", "overwrite_output_dir=true",
                 "max_steps=1", "plot_loss=false", "bf16=true", "lora_target=all"]  # fmt: skip
        token = min(seconds_until(generate, "{") for _ in range(a.runs))
        ready = min(seconds_until(train, "output ") for _ in range(a.runs))
    size = sum(file.stat().st_size for file in a.model.glob("*.safetensors"))
    text = page.table(["weights", "first new token", "training ready"], [[f"{size / 1e9:.2f} GB", f"{token:.2f} s", f"{ready:.2f} s"]])
    print(text)
    if a.write:
        page.replace(a.write, "startup", f"{page.machine()}.\n\n{text}")


if __name__ == "__main__":
    main()
