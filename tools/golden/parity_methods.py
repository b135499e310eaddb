"""Every method in both directions: PEFT's adapters in Fettle, Fettle's in PEFT, Fettle's merged folders in Transformers.

Called by parity.py, which puts the table into docs/parity.md; alone: python tools/golden/parity_methods.py --fettle build/fettle
"""

import argparse
import json
import pathlib
import subprocess
import tempfile
import warnings

import golden_io as io
import make_methods
import make_models
import torch
import transformers
from peft import PeftModel
from safetensors.torch import load_file

TOLERANCE = 1e-4
# method: (folder of tests/golden/methods that PEFT made, options of a run by Fettle, can be merged)
LORA = ["finetuning_type=lora", "lora_rank=4"]
METHODS = {
    "LoRA, rsLoRA, patterns": ("lora-rslora-patterns", [*LORA, "use_rslora=true", "rank_pattern={\"k_proj\": 2, \"c_fc\": 2}"], True),
    "LoRA, bias: all": ("lora-bias-all", [*LORA, "bias=all"], True),
    "LoRA, bias: lora_only": ("lora-bias-only", [*LORA, "bias=lora_only"], True),
    "LoRA, modules_to_save": ("lora-modules-to-save", [*LORA, "additional_target=norm,ln_f"], True),
    "LoRA on the embedding": ("lora-embedding", [*LORA, "lora_target=EMBEDDING,QUERY"], True),
    "LoRA, trained tokens": ("lora-tokens", [*LORA, "trainable_token_indices=3,7,11"], True),
    "PiSSA": ("lora-pissa", [*LORA, "pissa_init=true"], True),
    "OLoRA": ("lora-olora", [*LORA, "init_lora_weights=olora"], True),
    "EVA": (None, [*LORA, "init_lora_weights=eva"], True),
    "CorDA": (None, [*LORA, "init_lora_weights=corda"], True),
    "LoRA-GA": (None, [*LORA, "init_lora_weights=lora_ga"], True),
    "LoRA, replicated layers": ("lora-replicated", [*LORA, "layer_replication=0-2,1-2"], False),
    "DoRA": ("dora", [*LORA, "use_dora=true"], True),
    "AdaLoRA": ("adalora", ["finetuning_type=adalora", "init_r=4", "target_r=2", "tinit=1", "tfinal=1"], True),
    "LoHa": ("loha", ["finetuning_type=loha", "lora_rank=3"], True),
    "LoKr": ("lokr", ["finetuning_type=lokr", "lora_rank=2"], True),
    "IA3": ("ia3", ["finetuning_type=ia3"], True),
    "VeRA": ("vera", ["finetuning_type=vera", "vera_rank=6", "lora_target=q_proj,v_proj,c_attn"], True),
    "OFT": ("oft", ["finetuning_type=oft", "oft_block_size=8"], True),
    "BOFT": ("boft", ["finetuning_type=boft"], True),
    "BOFT, two factors": ("boft-butterfly", ["finetuning_type=boft", "boft_n_butterfly_factor=2", "lora_target=q_proj,v_proj"], True),
    "LN tuning": ("ln-tuning", ["finetuning_type=ln_tuning"], True),
    "BitFit": (None, ["finetuning_type=bitfit"], False),
    "trained tokens": ("trainable-tokens", ["finetuning_type=trainable_tokens", "trainable_token_indices=3,7,11"], True),
    "prompt tuning": ("prompt-tuning", ["finetuning_type=prompt_tuning", "num_virtual_tokens=5"], False),
    "P-tuning, MLP": ("p-tuning-mlp", ["finetuning_type=p_tuning", "num_virtual_tokens=4", "encoder_hidden_size=12"], False),
    "P-tuning, LSTM": (
        "p-tuning-lstm",
        ["finetuning_type=p_tuning", "num_virtual_tokens=4", "encoder_hidden_size=12", "encoder_reparameterization_type=LSTM"],
        False,
    ),
    "prefix tuning": ("prefix-tuning", ["finetuning_type=prefix_tuning", "num_virtual_tokens=5"], False),
    "prefix tuning, projection": (
        "prefix-projection",
        ["finetuning_type=prefix_tuning", "num_virtual_tokens=3", "prefix_projection=true", "encoder_hidden_size=10"],
        False,
    ),
}
# What PEFT itself has for Conv1D weights, and for models with biases.
NOT_ON = {
    "gpt2": {"LoRA, replicated layers", "BitFit", "LoHa", "LoKr", "OFT", "BOFT", "BOFT, two factors", "OLoRA", "LoRA, bias: lora_only"},
    "llama": {"LoRA, bias: all", "LoRA, bias: lora_only"},
    "qwen2": set(),
}


class Methods:
    def __init__(self, fettle, scratch):
        self.fettle, self.scratch, self.rows = str(pathlib.Path(fettle).resolve()), pathlib.Path(scratch), []
        self.ids = [5, 17, 9, 40, 3, 22, 11, 8, 60, 31, 100, 7]
        (self.scratch / "rows.jsonl").write_text("".join(json.dumps({"input_ids": self.ids[i:] + self.ids[:i]}) + "\n" for i in range(6)))
        (self.scratch / "one.jsonl").write_text(json.dumps({"input_ids": self.ids}) + "\n")

    def call(self, *words):
        done = subprocess.run([self.fettle, *map(str, words)], capture_output=True, text=True)
        if done.returncode != 0:
            raise RuntimeError(done.stderr.strip().splitlines()[-1])

    def logits(self, model, adapter, row):
        path = self.scratch / "logits.safetensors"
        words = ["score", "--model", model, "--dtype", "f32", "--logits", path, row]
        self.call(*words, *(["--adapter", adapter] if adapter else []))
        return load_file(path)["0"]

    def error(self, got, want):
        return ((got - want).abs().max() / want.abs().max()).item()

    def theirs(self, model, name, case):
        folder = io.GOLDEN / "methods" / name / case
        golden = json.loads((folder / "golden.json").read_text())
        row = self.scratch / "golden.jsonl"
        row.write_text(json.dumps({"input_ids": golden["rows"][0]["input_ids"]}) + "\n")
        return self.error(self.logits(model, folder, row), load_file(folder / "golden.safetensors")["logits.0"])

    def ours(self, model, name, options, merges):
        out, merged = self.scratch / "out", self.scratch / "merged"
        names = {"EMBEDDING": "wte" if name == "gpt2" else "embed_tokens", "QUERY": "c_attn" if name == "gpt2" else "q_proj"}
        for key, value in names.items():
            options = [o.replace(key, value) for o in options]
        if name == "gpt2":
            options = [o.replace("norm,ln_f", "ln_f").replace("q_proj,v_proj,c_attn", "c_attn") for o in options]
        else:
            options = [o.replace("norm,ln_f", "norm").replace("q_proj,v_proj,c_attn", "q_proj,v_proj") for o in options]
        self.call("train", f"model_name_or_path={model}", f"dataset={self.scratch / 'rows.jsonl'}", f"output_dir={out}",
                  "overwrite_output_dir=true", "max_steps=3", "per_device_train_batch_size=2", "learning_rate=0.02", "plot_loss=false",
                  "save_strategy=no", *options)  # fmt: skip
        base = transformers.AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32, attn_implementation="eager")
        if any(o.startswith("layer_replication") for o in options) and getattr(base.config, "layer_types", None):
            base.config.layer_types = base.config.layer_types * 2  # transformers reads it, and PEFT does not lengthen it
        make_methods.compile_butterflies(any("butterfly" in o for o in options))
        tuned = PeftModel.from_pretrained(base, out).eval()
        with torch.no_grad():
            want = tuned(input_ids=torch.tensor([self.ids])).logits[0][-len(self.ids) :]
        plain = self.error(self.logits(model, None, self.scratch / "one.jsonl"), want)
        error = self.error(self.logits(model, out, self.scratch / "one.jsonl"), want)
        if plain < 1e-3:
            raise RuntimeError("the adapter changes nothing")
        if not merges:
            return error, None
        subprocess.run(["rm", "-rf", merged], check=True)
        self.call("export", f"model_name_or_path={model}", f"adapter_name_or_path={out}", f"export_dir={merged}")
        theirs, mine = PeftModel.from_pretrained(make_models.load(model), out).merge_and_unload(), make_models.load(merged)
        with torch.no_grad():
            a, b = (m(input_ids=torch.tensor([self.ids])).logits[0] for m in (mine, theirs))
        return error, self.error(a, b)

    def run(self):
        for name in ("llama", "qwen2", "gpt2"):
            model = io.GOLDEN / "models" / name
            for method, (case, options, merges) in METHODS.items():
                if method in NOT_ON[name]:
                    continue
                row = {"method": method, "model": name, "theirs": None, "ours": None, "merged": None, "problem": ""}
                try:
                    if case and (io.GOLDEN / "methods" / name / case).exists():
                        row["theirs"] = self.theirs(model, name, case)
                    row["ours"], row["merged"] = self.ours(model, name, options, merges)
                except Exception as problem:
                    row["problem"] = str(problem).splitlines()[-1][:160].replace("|", "/")
                self.rows.append(row)
                print(row, flush=True)
        return self.rows


def holds(row):
    return not row["problem"] and all(row[k] is None or row[k] <= TOLERANCE for k in ("theirs", "ours", "merged"))


def report(rows):
    """Lines for docs/parity.md."""
    lines = [
        "",
        "## Every method, both ways",
        "",
        "Largest logit difference over the largest logit, f32. *From PEFT*: an adapter that PEFT saved (random weights), in Fettle against"
        " PEFT's logits. *To PEFT*: one that Fettle trained for three steps, in PEFT against Fettle's logits. *Merged*: the same, merged by"
        " Fettle and loaded by Transformers, against PEFT's merge_and_unload; – where a method has no merged form. Gradients, three to eight AdamW"
        " steps, saved keys, shapes and configuration are checked on the same fixtures by `tests/peft`. GPT-2 stores weights"
        " transposed (Conv1D); methods that PEFT does not have there are left out. For BOFT with two factors PEFT"
        " compiles a CUDA kernel; here `torch.block_diag` stands in for it.",
        "",
        "| method | model | from PEFT | to PEFT | merged | |",
        "|---|---|---|---|---|---|",
    ]
    shown = lambda value: "–" if value is None else f"{value:.1e}"
    for r in rows:
        mark = "ok" if holds(r) else "**fails** " + r["problem"]
        lines.append(f"| {r['method']} | {r['model']} | {shown(r['theirs'])} | {shown(r['ours'])} | {shown(r['merged'])} | {mark} |")
    return lines


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--fettle", default="build/fettle")
    args = parser.parse_args()
    io.setup()
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as scratch:
        rows = Methods(args.fettle, scratch).run()
    print("\n".join(report(rows)))
    print(sum(map(holds, rows)), "of", len(rows), "hold")


if __name__ == "__main__":
    main()
