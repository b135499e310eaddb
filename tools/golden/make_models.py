"""Tiny random models of every supported architecture with the answers of Transformers and PEFT.

    python tools/golden/make_models.py [name …]

Writes tests/golden/models/<name>/:
  config.json + weights      as save_pretrained writes them (see CASES for .bin, shards, bf16, old config keys)
  adapter/                   a PEFT LoRA adapter, r=4, alpha=8, seven linears, B not zero
  golden.json                rows (input_ids, labels), losses, greedy answers, the bf16 spread, versions
  golden.safetensors
    logits.<i>               f32 [tokens, vocab] of row i, each row run alone
    logits_bf16.<i>          bf16 [tokens, vocab]: the same model in torch.bfloat16
    grad.<parameter>         f32 gradient of `loss` (below) by the parameter, full fine-tuning
    adapter.logits.<i>, adapter.logits_bf16.<i>, merged.logits.<i>
    adapter.grad.<name>      gradient of `adapter.loss` by lora_A / lora_B, named as in adapter_model.safetensors

Losses: `row_losses[i]` is the mean over the labelled tokens of row i (after the causal shift). `loss` is the sum over
all rows divided by the number of labelled tokens of all rows; gradients belong to it.
"""

import json
import shutil
import sys
import warnings

import golden_io as io
import torch
import torch.nn.functional as F
import transformers
from peft import LoraConfig, PeftModel, get_peft_model

MODELS = io.GOLDEN / "models"
LINEARS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
NEW_TOKENS = 24

SMALL = dict(
    vocab_size=136,
    hidden_size=32,
    intermediate_size=56,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=2,
    max_position_embeddings=128,
    rms_norm_eps=1e-5,
    bos_token_id=None,
    eos_token_id=None,
    pad_token_id=None,
    tie_word_embeddings=False,
)


def rope(kind, **keys):
    return {"rope_type": kind, "rope_theta": 10000.0, **keys}


# name: (class, config changes, options). Options: store = safetensors | bin | sharded | bf16;
# old_config: config.json rewritten with the keys of Transformers 4 (rope_theta, rope_scaling, torch_dtype);
# lean: no adapter and no gradients (the case differs from another one only in its rotary tables or its storage).
CASES = {
    "llama": (
        "Llama",
        dict(
            rope_parameters=rope(
                "llama3",
                factor=8.0,
                low_freq_factor=1.0,
                high_freq_factor=4.0,
                original_max_position_embeddings=32,
            )
        ),
        dict(old_config=True),
    ),
    "llama-linear": ("Llama", dict(rope_parameters=rope("linear", factor=2.5)), dict(old_config=True, lean=True)),
    "llama-dynamic": (
        "Llama",
        dict(rope_parameters=rope("dynamic", factor=2.0), max_position_embeddings=12),
        dict(lean=True),
    ),
    "llama-yarn": (
        "Llama",
        dict(
            rope_parameters=rope("yarn", factor=4.0, original_max_position_embeddings=16, beta_fast=8.0, beta_slow=1.0),
            max_position_embeddings=64,
            hidden_size=48,
            num_attention_heads=3,
            num_key_value_heads=1,
        ),
        dict(lean=True),
    ),
    "llama-bin": (
        "Llama",
        dict(num_key_value_heads=4, rope_parameters=rope("default"), rms_norm_eps=1e-6),
        dict(store="bin", old_config=True, lean=True),
    ),
    "llama-bf16": (
        "Llama",
        dict(rope_parameters={"rope_type": "default", "rope_theta": 500000.0}),
        dict(store="bf16", old_config=True, lean=True),
    ),
    "qwen2": (
        "Qwen2",
        dict(
            tie_word_embeddings=True, use_sliding_window=False, rope_parameters={"rope_type": "default", "rope_theta": 1e6}
        ),
        dict(old_config=True),
    ),
    "qwen2-sharded": (
        "Qwen2",
        dict(tie_word_embeddings=False, use_sliding_window=False, rope_parameters={"rope_type": "default", "rope_theta": 1e6}),
        dict(store="sharded", lean=True),
    ),
    "qwen3": (
        "Qwen3",
        dict(
            head_dim=16,
            tie_word_embeddings=True,
            use_sliding_window=False,
            rope_parameters={"rope_type": "default", "rope_theta": 1e6},
        ),
        dict(),
    ),
    "gpt2": (
        "GPT2",
        dict(n_embd=32, n_layer=2, n_head=4, n_positions=64, attn_pdrop=0.0, embd_pdrop=0.0, resid_pdrop=0.0),
        dict(),
    ),
    "mistral": ("Mistral", dict(head_dim=8, sliding_window=7, rope_parameters=rope("default")), dict(old_config=True)),
}


def build(name, arch, changes):
    """A model with weights of a size that makes attention, norms and biases all matter."""
    shared = {k: v for k, v in SMALL.items() if arch != "GPT2" or k.endswith("_id") or k == "vocab_size"}
    if arch == "GPT2":
        shared |= {"tie_word_embeddings": True}
    config = getattr(transformers, f"{arch}Config")(**{**shared, **changes})
    config._attn_implementation = "eager"
    model = getattr(transformers, "GPT2LMHeadModel" if arch == "GPT2" else f"{arch}ForCausalLM")(config).float().eval()
    g = io.generator("model", name)
    with torch.no_grad():
        for key, p in model.named_parameters():
            noise = torch.randn(p.shape, generator=g)
            if key.endswith("norm.weight") or "layernorm" in key or (".ln_" in key and key.endswith("weight")):
                p.copy_(1.0 + 0.25 * noise)
            elif key.endswith(".bias"):
                p.copy_(0.3 * noise)
            elif "wpe" in key:
                p.copy_(0.2 * noise)
            elif "embed_tokens" in key or "wte" in key:
                p.copy_((0.35 if config.tie_word_embeddings else 0.7) * noise)
            elif "lm_head" in key:
                p.copy_(noise / p.shape[1] ** 0.5)
            else:
                p.copy_(1.2 * noise / p.shape[0 if arch == "GPT2" else 1] ** 0.5)
    return model


def store_model(model, folder, options):
    store = options.get("store", "safetensors")
    if store == "bf16":
        model.to(torch.bfloat16)
    if store == "bin":
        model.config.architectures = [type(model).__name__]
        model.config.dtype = torch.float32
        model.config.save_pretrained(folder)
        model.generation_config.save_pretrained(folder)
        torch.save(dict(model.state_dict()), folder / "pytorch_model.bin")
    else:
        model.save_pretrained(folder, max_shard_size="40KB" if store == "sharded" else "1GB")
    if store == "bf16":
        model.float()
    if options.get("old_config"):
        path = folder / "config.json"
        config = json.loads(path.read_text())
        params = config.pop("rope_parameters")
        config["rope_theta"] = params.pop("rope_theta")
        kind = params.pop("rope_type")
        if kind == "linear":  # the oldest spelling of the key
            config["rope_scaling"] = {"type": kind, **params}
        else:
            config["rope_scaling"] = None if kind == "default" else {"rope_type": kind, **params}
        config["torch_dtype"] = config.pop("dtype")
        config["transformers_version"] = "4.46.0"
        path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")


def load(folder, dtype=torch.float32):
    return transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=dtype, attn_implementation="eager").eval()


def fresh_rotary(model):
    """Dynamic scaling keeps the longest length it has seen; a row must not depend on the rows before it."""
    inner = model
    if model.config.model_type == "gpt2":
        return
    while not hasattr(inner, "rotary_emb"):
        inner = inner.base_model.model if isinstance(inner, PeftModel) else inner.model
    old = inner.rotary_emb
    inner.rotary_emb = type(old)(config=inner.config)


def make_rows(name, vocab):
    """Rows of different lengths; labels: prompt masked, everything trained, several answers, a single token."""
    g = io.generator("rows", name)
    rows = []
    for n, keep in [(19, range(7, 19)), (5, range(0, 5)), (26, [3, 4, 5, 11, 12, 20, 21, 22, 23, 25]), (2, [1])]:
        ids = torch.randint(0, vocab, (n,), generator=g).tolist()
        keep = set(keep)
        rows.append({"input_ids": ids, "labels": [t if i in keep else -100 for i, t in enumerate(ids)]})
    return rows


def run_rows(model, rows):
    """Logits of every row and the summed cross entropy (with the tape, for gradients)."""
    logits, sums, counts = [], [], []
    for row in rows:
        fresh_rotary(model)
        out = model(input_ids=torch.tensor([row["input_ids"]])).logits[0]
        labels = torch.tensor(row["labels"])
        logits.append(out)
        sums.append(F.cross_entropy(out[:-1].float(), labels[1:], ignore_index=-100, reduction="sum"))
        counts.append(int((labels[1:] != -100).sum()))
    return logits, sums, counts


def evaluate(model, rows, named_parameters):
    """Forward and backward: logits, row losses, total loss, gradients."""
    logits, sums, counts = run_rows(model, rows)
    loss = torch.stack(sums).sum() / sum(counts)
    names, params = zip(*named_parameters)
    grads = torch.autograd.grad(loss, params) if params else []
    return {
        "logits": [x.detach() for x in logits],
        "row_losses": [(s / c).item() for s, c in zip(sums, counts)],
        "row_label_counts": counts,
        "loss": loss.item(),
        "grads": {n: gr.detach() for n, gr in zip(names, grads)},
    }


def check_row_loss(model, rows, expected):
    """Transformers' own loss must be what this file calls the row loss."""
    for row, want in zip(rows, expected):
        fresh_rotary(model)
        got = model(input_ids=torch.tensor([row["input_ids"]]), labels=torch.tensor([row["labels"]])).loss.item()
        assert abs(got - want) < 1e-5 * max(1, abs(want)), (got, want)


def spread(exact, rounded):
    """How far torch's own bf16 run is from its f32 run: what a bf16 engine may differ by."""
    diffs = [(a - b.float()).abs() for a, b in zip(exact["logits"], rounded["logits"])]
    every = torch.cat([d.flatten() for d in diffs])
    grads = {
        n: ((g - rounded["grads"][n].float()).norm() / g.norm().clamp_min(1e-12)).item()
        for n, g in exact["grads"].items()
    }
    return {
        "logits_max": every.max().item(),
        "logits_mean": every.mean().item(),
        "logits_abs_max": max(x.abs().max().item() for x in exact["logits"]),
        "loss": abs(exact["loss"] - rounded["loss"]),
        "gradient_relative_norm": grads,
    }


def generate(model, prompt, penalty):
    """Greedy answer and the smallest gap between the best and the second score (ties would make it ambiguous)."""
    fresh_rotary(model)
    out = model.generate(
        torch.tensor([prompt]),
        attention_mask=torch.ones(1, len(prompt), dtype=torch.long),
        do_sample=False,
        max_new_tokens=NEW_TOKENS,
        repetition_penalty=penalty,
        output_scores=True,
        return_dict_in_generate=True,
        pad_token_id=0,
    )
    gaps = [(t := s[0].topk(2).values)[0].item() - t[1].item() for s in out.scores]
    return {
        "prompt": prompt,
        "repetition_penalty": penalty,
        "new_ids": out.sequences[0, len(prompt) :].tolist(),
        "smallest_gap": min(gaps),
    }


def greedy_answers(name, model, merged):
    """Answers to two prompts, drawn so that no choice is nearly a tie."""
    g = io.generator("prompts", name)
    answers, merged_answers = [], []
    for length in (6, 3):
        for _ in range(200):
            prompt = torch.randint(0, model.config.vocab_size, (length,), generator=g).tolist()
            plain = [generate(model, prompt, penalty) for penalty in (1.0, 1.3)]
            tuned = [generate(merged, prompt, 1.0)] if merged else []
            if min(a["smallest_gap"] for a in plain + tuned) > 4e-3:
                break
        else:
            raise RuntimeError(f"{name}: no prompt with clear choices")
        answers += plain
        merged_answers += tuned
    return answers, merged_answers


def linears_of(model):
    return ["c_attn", "c_proj", "c_fc"] if model.config.model_type == "gpt2" else list(LINEARS)


def make_adapter(model, name, folder):
    config = LoraConfig(task_type="CAUSAL_LM", r=4, lora_alpha=8, lora_dropout=0.0, target_modules=linears_of(model))
    tuned = get_peft_model(model, config)
    g = io.generator("adapter", name)
    with torch.no_grad():
        for key, p in tuned.named_parameters():
            if "lora_A" in key:
                p.copy_(torch.randn(p.shape, generator=g) / p.shape[1] ** 0.5)
            elif "lora_B" in key:
                p.copy_(0.3 * torch.randn(p.shape, generator=g))
    tuned.peft_config["default"].base_model_name_or_path = name
    tuned.peft_config["default"].target_modules = linears_of(model)
    tuned.save_pretrained(folder)
    (folder / "README.md").unlink(missing_ok=True)  # the model card: nothing reads it
    path = folder / "adapter_config.json"
    written = json.loads(path.read_text())
    written["target_modules"].sort()  # PEFT keeps a set: its order changes from run to run
    path.write_text(json.dumps(written, indent=2, sort_keys=True))


def adapter_parameters(tuned):
    """Trainable parameters under the names of the adapter file."""
    return [(n.replace(".default.", "."), p) for n, p in tuned.named_parameters() if p.requires_grad]


def make_case(name):
    arch, changes, options = CASES[name]
    folder = MODELS / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    store_model(build(name, arch, changes), folder, options)

    lean = options.get("lean", False)
    model = load(folder)
    rows = make_rows(name, model.config.vocab_size)
    exact = evaluate(model, rows, list(model.named_parameters()))
    check_row_loss(model, rows, exact["row_losses"])
    half = load(folder, torch.bfloat16)
    rounded = evaluate(half, rows, list(half.named_parameters()))

    tensors = {}
    for i, (a, b) in enumerate(zip(exact["logits"], rounded["logits"])):
        tensors[f"logits.{i}"] = a
        tensors[f"logits_bf16.{i}"] = b
    if not lean:
        tensors.update({f"grad.{n}": g for n, g in exact["grads"].items()})

    golden = {
        "model": type(model).__name__,
        "parameters": sum(p.numel() for p in model.parameters()),
        "rows": rows,
        "row_losses": exact["row_losses"],
        "row_label_counts": exact["row_label_counts"],
        "loss": exact["loss"],
        "bf16_spread": spread(exact, rounded),
    }

    merged = None
    if not lean:
        make_adapter(load(folder), name, folder / "adapter")
        tuned = PeftModel.from_pretrained(load(folder), folder / "adapter", is_trainable=True).eval()
        half_tuned = PeftModel.from_pretrained(
            load(folder, torch.bfloat16), folder / "adapter", is_trainable=True
        ).eval()
        with_adapter = evaluate(tuned, rows, adapter_parameters(tuned))
        rounded = evaluate(half_tuned, rows, adapter_parameters(half_tuned))
        merged = tuned.merge_and_unload()
        with torch.no_grad():
            merged_logits, _, _ = run_rows(merged, rows)
        for i in range(len(rows)):
            tensors[f"adapter.logits.{i}"] = with_adapter["logits"][i]
            tensors[f"adapter.logits_bf16.{i}"] = rounded["logits"][i].bfloat16()
            tensors[f"merged.logits.{i}"] = merged_logits[i]
        tensors.update({f"adapter.grad.{n}": g for n, g in with_adapter["grads"].items()})
        golden["adapter"] = {
            "trainable_parameters": sum(p.numel() for _, p in adapter_parameters(half_tuned)),
            "row_losses": with_adapter["row_losses"],
            "loss": with_adapter["loss"],
            "bf16_spread": spread(with_adapter, rounded),
        }
    golden["greedy"], merged_answers = greedy_answers(name, model, merged)
    if merged:
        golden["adapter"]["greedy"] = merged_answers
    golden["versions"] = io.versions()
    io.save_tensors(folder / "golden.safetensors", tensors)
    io.save_json(folder / "golden.json", golden)
    for file in folder.rglob("*.*"):
        file.chmod(0o644)
    size = sum(f.stat().st_size for f in folder.rglob("*") if f.is_file())
    print(
        f"{name:14} loss {exact['loss']:.4f} bf16 spread {golden['bf16_spread']['logits_max']:.4f} "
        f"of {golden['bf16_spread']['logits_abs_max']:.2f}, {size // 1024} KB"
    )


if __name__ == "__main__":
    io.setup()
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    warnings.simplefilter("ignore")
    for case in sys.argv[1:] or CASES:
        make_case(case)
