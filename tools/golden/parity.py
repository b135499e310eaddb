"""Runs a built `fettle` against Transformers, PEFT and Trainer and writes the result to docs/parity.md.

    python tools/golden/parity.py --fettle build/fettle [--out docs/parity.md] [--only TEXT] [--keep DIR]

Both directions: an adapter trained here is loaded by PEFT, an adapter made by PEFT is loaded here, a folder merged or
fully trained here is loaded by Transformers. The reference is computed on the spot, not read from the fixtures, so the
check also holds for versions newer than those of requirements.txt. Ends with status 1 when a check fails.

$FETTLE_ASSETS may name a folder with real models (models/stories260K-hf); they are added to the checks.
"""

import argparse
import json
import os
import pathlib
import platform
import shutil
import subprocess
import sys
import tempfile
import traceback
import warnings

import golden_io as io
import make_models
import parity_methods
import torch
import transformers
import yaml
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

ROOT = pathlib.Path(__file__).resolve().parents[2]
F32_TOLERANCE = 1e-4  # relative to the largest logit of the row
ADAPTER_TOLERANCE = 1e-3  # absolute, after 20 steps
LOSS_TOLERANCE = 1e-4

# Adapters of other shapes, made by PEFT with random A and B: name -> (model, LoraConfig arguments)
BOTTLENECKS = "## Bottleneck adapters, both ways"
ADAPTER_KINDS = {
    "rsLoRA, rank 6": ("llama", dict(r=6, lora_alpha=12, use_rslora=True, target_modules=["q_proj", "v_proj"])),
    "rank and alpha patterns": (
        "qwen2",
        dict(
            r=4,
            lora_alpha=8,
            target_modules=["q_proj", "k_proj", "down_proj"],
            rank_pattern={"down_proj": 2, "layers.1.self_attn.q_proj": 6},
            alpha_pattern={"k_proj": 3},
        ),
    ),
    "targets by regular expression": ("qwen3", dict(r=4, target_modules=r".*\.layers\.\d+\.mlp\.(up|gate)_proj")),
    "one layer only": ("mistral", dict(r=4, target_modules=["q_proj", "o_proj"], layers_to_transform=[1])),
    "all-linear": ("qwen3", dict(r=2, target_modules="all-linear")),
}


class Table:
    def __init__(self, only):
        self.rows, self.only = [], only

    def run(self, check, model, unit, function):
        """`function` returns (error, tolerance); an exception is a failed row."""
        if self.only and self.only not in f"{check} {model}":
            return
        try:
            error, tolerance = function()
            ok, shown = error <= tolerance, f"{error:.2e}"
        except Exception as problem:
            traceback.print_exc()
            first = str(problem).strip().splitlines() or [type(problem).__name__]
            ok, shown, tolerance = False, "failed: " + first[-1][:120].replace("|", "/"), float("nan")
        self.rows.append((check, model, unit, shown, tolerance, ok))
        print(f"{'ok  ' if ok else 'FAIL'} {check} · {model}: {shown} ({unit}, at most {tolerance:.2e})", flush=True)

    def failed(self):
        return sum(not row[-1] for row in self.rows)


class Fettle:
    """The binary under test; every call keeps its output for the error message."""

    def __init__(self, binary, scratch):
        self.binary, self.scratch, self.count = binary, scratch, 0

    def call(self, *args):
        done = subprocess.run([self.binary, *map(str, args)], capture_output=True, text=True, timeout=600)
        if done.returncode != 0:
            raise RuntimeError(f"fettle {args[0]} ended with {done.returncode}: {(done.stderr or done.stdout).strip()}")
        return done.stdout

    def fresh(self, name):
        self.count += 1
        return self.scratch / f"{self.count:03d}-{name}"

    def score(self, model, rows, adapter=None, dtype="f32"):
        """f32 logits of every row."""
        data, out = self.fresh("rows.jsonl"), self.fresh("logits.safetensors")
        data.write_text("".join(json.dumps({"input_ids": r}) + "\n" for r in rows))
        extra = ["--adapter", adapter] if adapter else []
        self.call("score", "--model", model, *extra, "--dtype", dtype, "--logits", out, data)
        tensors = load_file(out)
        return [tensors[str(i)].float() for i in range(len(rows))]

    def train(self, **options):
        """Trains from a YAML file; returns the output folder."""
        out, config = self.fresh("trained"), self.fresh("run.yaml")
        config.write_text(yaml.safe_dump({**options, "output_dir": str(out)}))
        self.call("train", config)
        return out

    def export(self, model, adapter):
        out = self.fresh("merged")
        self.call("export", f"model_name_or_path={model}", f"adapter_name_or_path={adapter}", f"export_dir={out}")
        return out


def reference_logits(model, rows):
    out = []
    with torch.no_grad():
        for row in rows:
            make_models.fresh_rotary(model)
            out.append(model(input_ids=torch.tensor([row])).logits[0].float())
    return out


def relative(got, want):
    worst = 0.0
    for a, b in zip(got, want, strict=True):
        if a.shape != b.shape:
            raise RuntimeError(f"logits of shape {list(a.shape)} where {list(b.shape)} was expected")
        if not torch.isfinite(a).all():
            raise RuntimeError("logits that are not finite")
        worst = max(worst, ((a - b).abs().max() / b.abs().max()).item())
    return worst


def token_rows(vocab, seed):
    g = io.generator("parity", seed)
    return [torch.randint(0, vocab, (n,), generator=g).tolist() for n in (23, 1, 9, 40)]


def add_tokenizer(folder):
    """A byte-level BPE without merges over printable ASCII: training on ids does not use it, saving copies it."""
    ascii_only = [c for c in sorted(pre_tokenizers.ByteLevel.alphabet()) if ord(c) < 127] + ["Ġ", "Ċ"]
    tokenizer = Tokenizer(models.BPE(vocab={c: i for i, c in enumerate(ascii_only)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(["<end>"])
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(
        json.dumps({"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "<end>", "pad_token": "<end>"}, indent=2)
    )


def working_copy(name, scratch):
    """The fixture without its answers, with a tokenizer."""
    folder = scratch / f"model-{name}"
    if not folder.exists():
        ignore = shutil.ignore_patterns("golden.*", "adapter")
        shutil.copytree(make_models.MODELS / name, folder, ignore=ignore)
        add_tokenizer(folder)
    return folder


def check_base(table, fettle, folder, label):
    config = json.loads((folder / "config.json").read_text())
    rows = token_rows(config["vocab_size"], label)
    exact = reference_logits(make_models.load(folder), rows)

    def f32():
        return relative(fettle.score(folder, rows), exact), F32_TOLERANCE

    def bf16():
        theirs = reference_logits(make_models.load(folder, torch.bfloat16), rows)
        mine = fettle.score(folder, rows, dtype="bf16")

        def mean(logits):
            return torch.cat([(a - b).abs().flatten() for a, b in zip(logits, exact, strict=True)]).mean().item()

        relative(mine, exact)  # shapes, finite
        return mean(mine), 1.1 * mean(theirs)

    table.run("logits, f32", label, "relative", f32)
    table.run("logits, bf16 against f32; the limit is torch's own bf16 distance", label, "mean absolute", bf16)


def training_options(case, model, extra):
    """The golden run as a LLaMA-Factory YAML."""
    arguments = json.loads((io.GOLDEN / "train" / case / "train.json").read_text())["arguments"]
    return {
        "model_name_or_path": str(model),
        "stage": "sft",
        "do_train": True,
        "dataset": "rows",
        "dataset_dir": str(io.GOLDEN / "train" / case),
        "template": "default",
        "cutoff_len": 256,
        "disable_shuffling": True,
        "overwrite_output_dir": True,
        **arguments,
        **extra,
    }


def check_loss_curve(out, golden):
    history = json.loads((out / "trainer_state.json").read_text())["log_history"]
    mine = [h["loss"] for h in history if "loss" in h]
    want = [s["loss"] for s in golden["steps"]]
    if len(mine) != len(want):
        raise RuntimeError(f"{len(mine)} logged steps where {len(want)} were expected")
    return max(abs(a - b) for a, b in zip(mine, want)), LOSS_TOLERANCE


def check_lora_training(table, fettle, case, scratch):
    """Trains from the golden initial adapter; compares the curve, the adapter and what PEFT makes of it."""
    source = io.GOLDEN / "train" / case
    golden = json.loads((source / "train.json").read_text())
    model = working_copy(golden["model"], scratch)
    label, done = golden["model"], {}

    def trained():
        if "out" not in done:
            extra = dict(
                finetuning_type="lora",
                adapter_name_or_path=str(source / "initial_adapter"),
                lora_rank=4,
                lora_alpha=8,
                lora_dropout=0.0,
                lora_target="all",
            )
            done["out"] = fettle.train(**training_options(case, model, extra))
        return done["out"]

    def adapter():
        mine = load_file(trained() / "adapter_model.safetensors")
        want = load_file(source / "final_adapter" / "adapter_model.safetensors")
        if set(mine) != set(want):
            raise RuntimeError(f"adapter tensors differ: {sorted(set(mine) ^ set(want))[:3]}")
        return max((mine[k].float() - want[k]).abs().max().item() for k in want), ADAPTER_TOLERANCE

    def loaded_by_peft():
        rows = token_rows(make_models.SMALL["vocab_size"], case)
        theirs = reference_logits(PeftModel.from_pretrained(make_models.load(model), trained()).eval(), rows)
        return relative(fettle.score(model, rows, adapter=trained()), theirs), F32_TOLERANCE

    table.run("LoRA training, loss of each step against Trainer", label, "absolute", lambda: check_loss_curve(trained(), golden))
    table.run("LoRA training, final adapter against Trainer", label, "absolute", adapter)
    table.run("adapter trained by Fettle, loaded by PEFT", label, "relative", loaded_by_peft)


def check_full_training(table, fettle, case, scratch):
    source = io.GOLDEN / "train" / case
    golden = json.loads((source / "train.json").read_text())
    model = working_copy(golden["model"], scratch)
    label, done = golden["model"], {}

    def trained():
        if "out" not in done:
            done["out"] = fettle.train(**training_options(case, model, dict(finetuning_type="full")))
        return done["out"]

    def weights():
        mine = dict(make_models.load(trained()).named_parameters())
        want = load_file(source / "final.safetensors")
        return max((mine[k] - want[k]).abs().max().item() for k in want), ADAPTER_TOLERANCE

    def loaded_by_transformers():
        rows = token_rows(make_models.SMALL["vocab_size"], case)
        return relative(fettle.score(trained(), rows), reference_logits(make_models.load(trained()), rows)), F32_TOLERANCE

    table.run("full training, loss of each step against Trainer", label, "absolute", lambda: check_loss_curve(trained(), golden))
    table.run("full training, final weights against Trainer", label, "absolute", weights)
    table.run("model trained by Fettle, loaded by Transformers", label, "relative", loaded_by_transformers)


def check_foreign_adapter(table, fettle, model, adapter, label, what):
    """An adapter made by PEFT: read by `fettle score`, merged by `fettle export`."""
    rows = token_rows(make_models.SMALL["vocab_size"], label + what)
    want = reference_logits(PeftModel.from_pretrained(make_models.load(model), adapter).eval(), rows)

    def scored():
        return relative(fettle.score(model, rows, adapter=adapter), want), F32_TOLERANCE

    def merged():
        folder = fettle.export(model, adapter)
        missing = {f.name for f in model.iterdir() if f.suffix != ".safetensors"} - {f.name for f in folder.iterdir()}
        missing -= {"model.safetensors.index.json", "pytorch_model.bin"}
        if missing:
            raise RuntimeError(f"export left out {sorted(missing)}")
        return relative(reference_logits(make_models.load(folder), rows), want), F32_TOLERANCE

    table.run(f"adapter made by PEFT ({what}), loaded by Fettle", label, "relative", scored)
    table.run(f"adapter made by PEFT ({what}), merged by Fettle, loaded by Transformers", label, "relative", merged)


def make_adapter(model, arguments, folder):
    tuned = get_peft_model(make_models.load(model), LoraConfig(task_type="CAUSAL_LM", **arguments))
    g = io.generator("parity adapter", str(arguments))
    with torch.no_grad():
        for name, p in tuned.named_parameters():
            if p.requires_grad:
                p.copy_((0.3 if "lora_B" in name else p.shape[-1] ** -0.5) * torch.randn(p.shape, generator=g))
    tuned.save_pretrained(folder)


def fettle_version(binary):
    done = subprocess.run([binary, "version"], capture_output=True, text=True)
    return " · ".join(line.strip() for line in done.stdout.splitlines() if line.strip()) or binary


def write_report(path, table, binary, method_rows):
    versions = {**io.versions(), "Python": platform.python_version()}
    lines = [
        "# Same numbers as the Python stack",
        "",
        "Written by `tools/golden/parity.py`: a built `fettle` beside Transformers, PEFT and Trainer on tiny random models "
        "of each architecture, in both directions. Logit errors are the largest difference of a row divided by its largest "
        "logit. Run it again with:",
        "",
        "    pip install --extra-index-url https://download.pytorch.org/whl/cpu -r tools/golden/requirements.txt",
        "    python tools/golden/parity.py --fettle build/fettle",
        "",
        f"Fettle: {fettle_version(binary)}  ",
        "Reference: " + ", ".join(f"{name} {version}" for name, version in versions.items()),
        "",
        f"{len(table.rows) - table.failed()} of {len(table.rows)} checks hold.",
        "",
        "| check | model | error | at most | measured as | |",
        "|---|---|---|---|---|---|",
    ]
    for check, model, unit, shown, tolerance, ok in table.rows:
        limit = f"{tolerance:.1e}" if tolerance == tolerance else "–"
        lines.append(f"| {check} | {model} | {shown} | {limit} | {unit} | {'ok' if ok else '**fails**'} |")
    lines += parity_methods.report(method_rows)
    lines += bottleneck_section(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def bottleneck_section(path):
    """What parity_bottlenecks.py, which needs an environment of its own, has written before."""
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    return ["", *text[text.index(BOTTLENECKS) :].splitlines()] if BOTTLENECKS in text else []


def run(table, binary, scratch):
    fettle = Fettle(binary, scratch)
    for name in make_models.CASES:
        check_base(table, fettle, make_models.MODELS / name, name)
    assets = os.environ.get("FETTLE_ASSETS")
    if assets and (real := pathlib.Path(assets) / "models" / "stories260K-hf").exists():
        check_base(table, fettle, real, real.name)
    for case in ("lora-llama", "lora-qwen2"):
        check_lora_training(table, fettle, case, scratch)
    for case in ("full-qwen3", "full-mistral"):
        check_full_training(table, fettle, case, scratch)
    for case in ("lora-llama", "lora-qwen2"):
        name = case.removeprefix("lora-")
        adapter = io.GOLDEN / "train" / case / "final_adapter"
        check_foreign_adapter(table, fettle, working_copy(name, scratch), adapter, name, "trained by Trainer")
    for i, (what, (name, arguments)) in enumerate(ADAPTER_KINDS.items()):
        model, adapter = working_copy(name, scratch), scratch / f"adapter-{i}"
        make_adapter(model, arguments, adapter)
        check_foreign_adapter(table, fettle, model, adapter, name, what)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--fettle", default=str(ROOT / "build" / "fettle"), help="the binary (default: build/fettle)")
    parser.add_argument("--out", type=pathlib.Path, default=ROOT / "docs" / "parity.md")
    parser.add_argument("--only", help="run the checks whose name or model contains this text; writes no report")
    parser.add_argument("--keep", type=pathlib.Path, help="work in this folder and leave it")
    args = parser.parse_args()
    binary = str(pathlib.Path(args.fettle).resolve())
    if not os.access(binary, os.X_OK):
        sys.exit(f"{args.fettle}: no such program; build it first or name it with --fettle")

    io.setup()
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    warnings.simplefilter("ignore")
    table = Table(args.only)
    if args.keep:
        args.keep.mkdir(parents=True, exist_ok=True)
        run(table, binary, args.keep.resolve())
    else:
        with tempfile.TemporaryDirectory(prefix="fettle-parity-") as scratch:
            run(table, binary, pathlib.Path(scratch))
    if not args.only:
        with tempfile.TemporaryDirectory(prefix="fettle-parity-") as scratch:
            method_rows = parity_methods.Methods(binary, scratch).run()
        write_report(args.out, table, binary, method_rows)
        print(f"{args.out}: {len(table.rows) - table.failed()} of {len(table.rows)} checks hold")
        if not all(map(parity_methods.holds, method_rows)):
            sys.exit(1)
    sys.exit(1 if table.failed() else 0)


if __name__ == "__main__":
    main()
