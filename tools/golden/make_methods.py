"""Adapters of every PEFT method on the tiny models of make_models.py, with PEFT's answers.

    python tools/golden/make_methods.py [case …]

Writes tests/golden/methods/<model>/<case>/:
  adapter_config.json, adapter_model.safetensors   as PEFT's save_pretrained writes them, every weight random
  golden.json       trainable parameters, loss, learning rate and count of the steps, versions
  golden.safetensors
    logits.0            f32 [tokens, vocab] of row 0 with the adapter, merged.logits.0 after merge_and_unload
    grad.<key>          gradient of `loss` by a trainable parameter, named by its key in the adapter file
    step.<key>          that parameter after `steps` steps of torch's AdamW (weight decay 0) on the same rows
    internal.<name>, grad.internal.<name>   weights of prompt encoders, which PEFT does not save

`loss` is the sum of the cross entropies of all rows over the number of labelled tokens (make_models.py).
"""

import json
import pathlib
import shutil
import sys
import warnings

import golden_io as io
import make_models
import peft.tuners.boft.layer as boft_layer
import torch
from peft import (
    AdaLoraConfig,
    BOFTConfig,
    IA3Config,
    LNTuningConfig,
    LoHaConfig,
    LoKrConfig,
    LoraConfig,
    OFTConfig,
    PeftModel,
    PrefixTuningConfig,
    PromptEncoderConfig,
    PromptTuningConfig,
    TaskType,
    TrainableTokensConfig,
    VeraConfig,
    get_peft_model,
)
from peft.utils import get_peft_model_state_dict

METHODS = io.GOLDEN / "methods"
QV = ["q_proj", "v_proj"]
ALL = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
LM = dict(task_type=TaskType.CAUSAL_LM)


# Tokens that occur in the rows of both models, and one that does not.
TOKENS = sorted({make_models.make_rows(m, 136)[r]["input_ids"][t] for m in ("llama", "qwen2") for r, t in ((0, 8), (2, 4))})
TOKENS += [next(t for t in range(136) if t not in TOKENS)]


def lora(**keys):
    return LoraConfig(**{**LM, "r": 4, "lora_alpha": 8, "target_modules": list(QV), **keys})


# name: (config maker, options); options: init = keep PEFT's own initial values, steps = number of AdamW steps,
# models = only these, merge = False where PEFT cannot merge, factors = BOFT with several, for which PEFT compiles a CUDA kernel: here
# torch.block_diag takes its place.
CASES = {
    "lora-rslora-patterns": (
        lambda: lora(
            target_modules=list(ALL),
            use_rslora=True,
            rank_pattern={"k_proj": 2, "layers.1.mlp.up_proj": 6},
            alpha_pattern={"q_proj": 3, "down_proj": 5},
            layers_to_transform=[1],
        ),
        {},
    ),
    "lora-bias-all": (lambda: lora(bias="all"), dict(models=["qwen2"], merge=False)),
    "lora-bias-only": (lambda: lora(bias="lora_only"), dict(models=["qwen2"])),
    "lora-lora-bias": (lambda: lora(lora_bias=True), dict(models=["qwen2"])),
    "lora-modules-to-save": (lambda: lora(modules_to_save=["lm_head", "norm"]), {}),
    "lora-embedding": (lambda: lora(target_modules=["embed_tokens", "q_proj"]), {}),
    "lora-head": (lambda: lora(target_modules=["lm_head", "q_proj"]), dict(models=["llama"])),
    "lora-tokens": (lambda: lora(trainable_token_indices=list(TOKENS)), {}),
    "lora-pissa": (lambda: lora(init_lora_weights="pissa", target_modules=list(ALL)), dict(init=True)),
    "lora-olora": (lambda: lora(init_lora_weights="olora", target_modules=list(ALL)), dict(init=True)),
    "lora-replicated": (lambda: lora(layer_replication=[[0, 2], [1, 2]]), dict(merge=False)),
    "dora": (lambda: lora(use_dora=True, target_modules=list(ALL)), {}),
    "adalora": (
        lambda: AdaLoraConfig(
            **LM, init_r=4, target_r=2, lora_alpha=8, tinit=1, tfinal=2, deltaT=2, total_step=8, target_modules=list(ALL)
        ),
        dict(steps=8),
    ),
    "loha": (lambda: LoHaConfig(**LM, r=3, alpha=6, target_modules=list(ALL)), {}),
    "lokr": (lambda: LoKrConfig(**LM, r=2, alpha=4, target_modules=list(ALL)), {}),
    "lokr-both": (
        lambda: LoKrConfig(**LM, r=1, alpha=4, decompose_both=True, decompose_factor=4, target_modules=list(ALL)),
        {},
    ),
    "ia3": (
        lambda: IA3Config(**LM, target_modules=["k_proj", "v_proj", "down_proj"], feedforward_modules=["down_proj"]),
        {},
    ),
    "vera": (lambda: VeraConfig(**LM, r=6, target_modules=list(ALL)), {}),
    "vera-key": (lambda: VeraConfig(**LM, r=6, save_projection=False, projection_prng_key=7, target_modules=list(QV)), {}),
    "oft": (lambda: OFTConfig(**LM, oft_block_size=8, target_modules=list(ALL)), {}),
    "oft-cayley-shared": (
        lambda: OFTConfig(**LM, oft_block_size=4, use_cayley_neumann=False, block_share=True, target_modules=list(QV)),
        {},
    ),
    "oft-constrained": (lambda: OFTConfig(**LM, r=4, oft_block_size=0, coft=True, eps=0.4, target_modules=list(QV)), {}),
    "boft": (lambda: BOFTConfig(**LM, boft_block_size=4, target_modules=list(ALL)), {}),
    "boft-butterfly": (
        lambda: BOFTConfig(**LM, boft_block_size=4, boft_n_butterfly_factor=3, target_modules=list(QV)),
        dict(factors=True),
    ),
    "boft-butterfly-pairs": (
        lambda: BOFTConfig(**LM, boft_block_size=2, boft_n_butterfly_factor=3, target_modules=list(ALL)),
        dict(factors=True, models=["llama"]),
    ),
    "ln-tuning": (lambda: LNTuningConfig(**LM, target_modules=["input_layernorm", "norm"]), {}),
    "trainable-tokens": (
        lambda: TrainableTokensConfig(**LM, token_indices=list(TOKENS), target_modules=["embed_tokens"]),
        {},
    ),
    "prompt-tuning": (lambda: PromptTuningConfig(**LM, num_virtual_tokens=5), dict(merge=False)),
    "p-tuning-mlp": (lambda: PromptEncoderConfig(**LM, num_virtual_tokens=4, encoder_hidden_size=12), dict(merge=False)),
    "p-tuning-lstm": (
        lambda: PromptEncoderConfig(
            **LM, num_virtual_tokens=4, encoder_hidden_size=6, encoder_num_layers=2, encoder_reparameterization_type="LSTM"
        ),
        dict(merge=False),
    ),
    "prefix-tuning": (lambda: PrefixTuningConfig(**LM, num_virtual_tokens=5), dict(merge=False)),
    "prefix-projection": (
        lambda: PrefixTuningConfig(**LM, num_virtual_tokens=3, prefix_projection=True, encoder_hidden_size=10),
        dict(merge=False),
    ),
}
CONV = ["c_attn", "c_proj", "c_fc"]
GPT2 = {
    "lora-rslora-patterns": (
        lambda: lora(target_modules=list(CONV), use_rslora=True, rank_pattern={"c_fc": 2}, alpha_pattern={"c_attn": 3}),
        {},
    ),
    "lora-bias-all": (lambda: lora(target_modules=["c_attn"], bias="all"), dict(merge=False)),
    "lora-modules-to-save": (lambda: lora(target_modules=["c_attn"], modules_to_save=["ln_f", "wpe"]), {}),
    "lora-embedding": (lambda: lora(target_modules=["wte", "c_attn"]), {}),
    "lora-tokens": (lambda: lora(target_modules=["c_attn"], trainable_token_indices={"wte": list(TOKENS)}), {}),
    "lora-pissa": (lambda: lora(target_modules=list(CONV), init_lora_weights="pissa"), dict(init=True)),
    "dora": (lambda: lora(target_modules=list(CONV), use_dora=True), {}),
    "adalora": (
        lambda: AdaLoraConfig(
            **LM, init_r=4, target_r=2, lora_alpha=8, tinit=1, tfinal=2, deltaT=2, total_step=8, target_modules=list(CONV)
        ),
        dict(steps=8),
    ),
    "ia3": (lambda: IA3Config(**LM, target_modules=["c_attn", "mlp.c_proj"], feedforward_modules=["mlp.c_proj"]), {}),
    "vera": (lambda: VeraConfig(**LM, r=6, target_modules=["c_attn"]), {}),
    "ln-tuning": (lambda: LNTuningConfig(**LM, target_modules=["ln_1", "ln_f"]), {}),
    "trainable-tokens": (lambda: TrainableTokensConfig(**LM, token_indices=list(TOKENS), target_modules=["wte"]), {}),
    "prompt-tuning": (lambda: PromptTuningConfig(**LM, num_virtual_tokens=5), dict(merge=False)),
    "p-tuning-mlp": (lambda: PromptEncoderConfig(**LM, num_virtual_tokens=4, encoder_hidden_size=12), dict(merge=False)),
    "prefix-tuning": (lambda: PrefixTuningConfig(**LM, num_virtual_tokens=5), dict(merge=False)),
}
MODELS = ["llama", "qwen2"]
LEARNING_RATE = 5e-3


def randomise(tuned, *key):
    g = io.generator("methods", *key)
    with torch.no_grad():
        for name, p in tuned.named_parameters():
            if not p.requires_grad or "vera_lambda_d" in name:
                continue
            noise = torch.randn(p.shape, generator=g)
            if "lora_A" in name or "lora_embedding_A" in name:
                p.copy_(noise / p.shape[-1] ** 0.5)
            elif "lora_B" in name or "lora_embedding_B" in name:
                p.copy_(0.3 * noise)
            elif any(part in name for part in ("hada_", "lokr_", "lora_E")):
                p.copy_(0.5 * noise)
            elif "prompt_encoder" in name:  # as torch initialises them, but reproducible
                p.copy_(0.5 * noise if "embedding" in name else noise / max(p.shape) ** 0.5)
            elif "oft_R" in name or "boft_R" in name:
                p.copy_(0.15 * noise)
            else:  # scales, norms, copies of base weights: near where they are
                p.add_(0.2 * noise)


def file_names(tuned):
    """Key in the adapter file of each trainable parameter."""
    stored = {}
    for key, value in get_peft_model_state_dict(tuned, save_embedding_layers=False).items():
        # Of the two names of a shared table the embedding's is meant.
        if value.data_ptr() not in stored or "embed_tokens" in key or "wte" in key:
            stored[value.data_ptr()] = key
    names = {}
    for name, p in tuned.named_parameters():
        if p.requires_grad:
            plain = name.replace(".modules_to_save", "").replace(".default", "")
            known = plain in stored.values() or ".modules_to_save." in name
            names[name] = stored.get(p.data_ptr(), plain if known else "internal." + plain)
            names[name] = names[name].replace(".modules_to_save", "")
            if "lm_head.t" in names[name]:
                table = "transformer.wte" if "transformer.h." in " ".join(stored.values()) else "model.embed_tokens"
                names[name] = names[name].replace("lm_head", table)
    return names


def run_rows(model, rows):
    """make_models.run_rows; virtual tokens in front of a row have logits too and also predict its first token."""
    config = model.peft_config["default"]
    if config.peft_type not in ("PROMPT_TUNING", "P_TUNING"):
        return make_models.run_rows(model, rows)
    n, logits, sums, counts = config.num_virtual_tokens, [], [], []
    for row in rows:
        out = model(input_ids=torch.tensor([row["input_ids"]])).logits[0]
        labels = torch.tensor([-100] * n + row["labels"])
        sums.append(torch.nn.functional.cross_entropy(out[:-1].float(), labels[1:], ignore_index=-100, reduction="sum"))
        counts.append(int((labels[1:] != -100).sum()))
        own = model(input_ids=torch.tensor([row["input_ids"]]), labels=torch.tensor([row["labels"]])).loss
        assert abs(own.item() - sums[-1].item() / counts[-1]) < 1e-5, "PEFT's own loss"
        logits.append(out[n:])
    return logits, sums, counts


def total_loss(model, rows):
    _, sums, counts = run_rows(model, rows)
    return torch.stack(sums).sum() / sum(counts)


def evaluate(model, rows, params):
    logits, sums, counts = run_rows(model, rows)
    loss = torch.stack(sums).sum() / sum(counts)
    grads = torch.autograd.grad(loss, [p for _, p in params])
    return {"logits": [x.detach() for x in logits], "loss": loss.item(), "grads": {n: g for (n, _), g in zip(params, grads)}}


class BlockDiagonal:
    @staticmethod
    def apply(blocks):
        return torch.stack([torch.block_diag(*factor) for factor in blocks])


def compile_butterflies(wanted):
    """PEFT's BOFT knows several factors only with a CUDA kernel; BlockDiagonal stands in for it."""
    boft_layer.FastBlockDiag = BlockDiagonal
    boft_layer._FBD_CUDA = wanted or None


def make_case(model_name, case):
    make, options = (GPT2 if model_name == "gpt2" else CASES)[case]
    compile_butterflies(options.get("factors", False))
    folder = METHODS / model_name / case
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    torch.manual_seed(11)
    base = make_models.load(make_models.MODELS / model_name)
    rows = make_models.make_rows(model_name, base.config.vocab_size)
    if case == "lora-replicated" and getattr(base.config, "layer_types", None):
        base.config.layer_types = base.config.layer_types * 2  # transformers reads it, and PEFT does not lengthen it
    tuned = get_peft_model(base, make())
    if not options.get("init"):
        randomise(tuned, model_name, case)
    config = tuned.peft_config["default"]
    config.base_model_name_or_path = model_name
    for key in ("target_modules", "feedforward_modules", "modules_to_save"):  # sets: their order changes
        if isinstance(getattr(config, key, None), (set, list)):
            setattr(config, key, sorted(getattr(config, key)))
    tuned.eval()
    if case == "oft-constrained":
        total_loss(tuned, rows)  # the projection writes back into the weights
    tuned.save_pretrained(folder)
    (folder / "README.md").unlink(missing_ok=True)
    names = file_names(tuned)
    params = [(names[n], p) for n, p in tuned.named_parameters() if p.requires_grad]
    result = evaluate(tuned, rows, params)
    prompt = config.peft_type in ("PROMPT_TUNING", "P_TUNING", "PREFIX_TUNING")
    internal = {n: p.detach().clone() for n, p in params if n.startswith("internal.")}
    tensors = {"logits.0": result["logits"][0]} | internal
    tensors |= {"grad." + n: g for n, g in result["grads"].items()}
    if options.get("merge", True):
        merged = PeftModel.from_pretrained(make_models.load(make_models.MODELS / model_name), folder).eval().merge_and_unload()
        make_models.fresh_rotary(merged)
        with torch.no_grad():
            tensors["merged.logits.0"] = merged(input_ids=torch.tensor([rows[0]["input_ids"]])).logits[0]

    steps = options.get("steps", 3)
    optimizer = torch.optim.AdamW([p for _, p in params], lr=LEARNING_RATE, weight_decay=0.0)
    losses = []
    for step in range(steps):
        if case == "adalora":
            # AdaLoraModel adds its penalty to the loss that the model itself computes.
            out = total_loss(tuned, rows)
            penalty, count = 0, 0
            for n, p in tuned.named_parameters():
                if "lora_A" in n or "lora_B" in n:
                    cov = p @ p.T if "lora_A" in n else p.T @ p
                    penalty = penalty + torch.norm(cov - torch.eye(len(cov)), p="fro")
                    count += 1
            loss = out + config.orth_reg_weight * penalty / count
        else:
            loss = total_loss(tuned, rows)
        loss.backward()
        losses.append(loss.item())
        optimizer.step()
        if case == "adalora":
            tuned.base_model.update_and_allocate(step)
        optimizer.zero_grad()
    tensors |= {"step." + n: p for n, p in params}
    io.save_tensors(folder / "golden.safetensors", tensors)
    trainable, every = tuned.get_nb_trainable_parameters()
    io.save_json(
        folder / "golden.json",
        {
            "versions": io.versions(),
            "rows": [{k: r[k] for k in ("input_ids", "labels")} for r in rows],
            "trainable_parameters": trainable,
            "all_parameters": every,
            "loss": result["loss"],
            "prompt": prompt,
            "learning_rate": LEARNING_RATE,
            "steps": steps,
            "step_losses": losses,
        },
    )
    path = folder / "adapter_config.json"
    written = json.loads(path.read_text())
    path.write_text(json.dumps(written, indent=2, sort_keys=True))


def main():
    io.setup()
    warnings.simplefilter("ignore")
    wanted = sys.argv[1:] or list(CASES)
    for case in wanted:
        models = list(CASES[case][1].get("models", MODELS) if case in CASES else [])
        for model in models + (["gpt2"] if case in GPT2 else []):
            make_case(model, case)
            size = sum(f.stat().st_size for f in (METHODS / model / case).iterdir())
            print(f"{model}/{case}: {size // 1024} KiB")


if __name__ == "__main__":
    main()
