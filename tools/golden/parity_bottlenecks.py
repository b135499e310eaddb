"""Bottleneck adapters and fusions in both directions: those of AdapterHub's library in Fettle, Fettle's in the library.

    python tools/golden/parity_bottlenecks.py --fettle build/fettle        (in the environment of make_bottlenecks.py)

Writes the last section of docs/parity.md, which parity.py leaves as it is.
"""

import argparse
import json
import pathlib
import subprocess
import sys
import tempfile
import warnings

import adapters
import make_bottlenecks
import torch
import transformers
from safetensors.torch import load_file

ROOT = pathlib.Path(__file__).resolve().parents[2]
HEADING = "## Bottleneck adapters, both ways"
TOLERANCE = 1e-4
IDS = [5, 17, 9, 40, 3, 22, 11, 8, 60, 31, 100, 7]
# method: (folder of tests/golden, options of a run by Fettle)
METHODS = {
    "Houlsby": ("bottlenecks/{}-houlsby", ["bottleneck_type=double_seq_bn", "reduction_factor=4"]),
    "Pfeiffer": ("bottlenecks/{}-pfeiffer", ["bottleneck_type=seq_bn", "reduction_factor=8"]),
    "parallel": ("bottlenecks/{}-parallel", ["bottleneck_type=par_bn", "reduction_factor=4"]),
    "AdapterFusion": ("fusions/{}-pfeiffer", None),
}


class Bottlenecks:
    def __init__(self, fettle, scratch):
        self.fettle, self.scratch = str(pathlib.Path(fettle).resolve()), pathlib.Path(scratch)
        rows = [{"input_ids": IDS[i:] + IDS[:i]} for i in range(6)]
        (self.scratch / "rows.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))

    def call(self, *words):
        done = subprocess.run([self.fettle, *map(str, words)], capture_output=True, text=True)
        if done.returncode != 0:
            raise RuntimeError(done.stderr.strip().splitlines()[-1])

    def logits(self, model, adapter, ids):
        row, path = self.scratch / "row.jsonl", self.scratch / "logits.safetensors"
        row.write_text(json.dumps({"input_ids": ids}) + "\n")
        self.call("score", "--model", model, "--dtype", "f32", "--logits", path, row, *(["--adapter", adapter] if adapter else []))
        return load_file(path)["0"]

    def theirs(self, model, name, folder):
        rows = json.loads((model / "golden.json").read_text())["rows"]
        return error(self.logits(model, folder, rows[0]["input_ids"]), load_file(folder / "golden.safetensors")["logits.0"])

    def ours(self, model, name, options, folder):
        out = self.scratch / "out"
        words = ["train", f"model_name_or_path={model}", f"dataset={self.scratch / 'rows.jsonl'}", f"output_dir={out}"]
        words += ["overwrite_output_dir=true", "max_steps=3", "per_device_train_batch_size=2", "learning_rate=0.02", "plot_loss=false"]
        if options:
            self.call(*words, "save_strategy=no", "finetuning_type=bottleneck", *options)
        else:
            fused = ",".join(str(folder / adapter) for adapter in ("field", "law"))
            self.call(*words, "save_strategy=no", "finetuning_type=adapter_fusion", f"adapter_name_or_path={fused}")
        theirs = make_bottlenecks.load(name)
        if options:
            theirs.set_active_adapters(theirs.load_adapter(str(out), use_safetensors=True))
        else:
            loaded = [theirs.load_adapter(str(out / adapter), use_safetensors=True) for adapter in ("field", "law")]
            theirs.load_adapter_fusion(str(out), use_safetensors=True)
            theirs.set_active_adapters(adapters.composition.Fuse(*loaded))
        theirs.eval()
        with torch.no_grad():
            want = theirs(input_ids=torch.tensor([IDS])).logits[0]
        if error(self.logits(model, None, IDS), want) < 1e-3:
            raise RuntimeError("the adapter changes nothing")
        return error(self.logits(model, out, IDS), want)

    def run(self):
        rows = []
        for name in ("llama", "qwen2", "gpt2"):
            model = make_bottlenecks.GOLDEN / "models" / name
            for method, (folder, options) in METHODS.items():
                folder = make_bottlenecks.GOLDEN / folder.format(name)
                rows.append((method, name, self.theirs(model, name, folder), self.ours(model, name, options, folder)))
                print(rows[-1], flush=True)
        return rows


def error(got, want):
    return ((got - want).abs().max() / want.abs().max()).item()


def report(rows):
    versions = f"adapters {adapters.__version__}, transformers {transformers.__version__}, torch {torch.__version__}"
    lines = [
        HEADING,
        "",
        f"As above, with AdapterHub's library in the place of PEFT, by `tools/golden/parity_bottlenecks.py` ({versions}).",
        "",
        "| method | model | from AdapterHub | to AdapterHub | |",
        "|---|---|---|---|---|",
    ]
    for method, model, theirs, ours in rows:
        lines.append(f"| {method} | {model} | {theirs:.1e} | {ours:.1e} | {'ok' if max(theirs, ours) <= TOLERANCE else '**fails**'} |")
    return "\n".join(lines) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--fettle", default=str(ROOT / "build" / "fettle"))
    args = parser.parse_args()
    transformers.logging.set_verbosity_error()
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as scratch:
        rows = Bottlenecks(args.fettle, scratch).run()
    page = ROOT / "docs" / "parity.md"
    text = page.read_text(encoding="utf-8").split(HEADING)[0].rstrip()
    page.write_text(text + "\n\n" + report(rows), encoding="utf-8")
    sys.exit(any(max(theirs, ours) > TOLERANCE for _, _, theirs, ours in rows))


if __name__ == "__main__":
    main()
