"""Steps of every optimizer on a few parameters: torch, transformers, bitsandbytes, schedulefree, lion-pytorch, galore_torch,
apollo_torch.

    python tools/golden/make_optimizers.py

Writes tests/golden/optimizers/golden.safetensors: start.<parameter>, grad.<step>.<parameter>, and for each case
<case>.<step>.<parameter> after step 8 (schedule-free: <case>.average.<parameter> too); golden.json: the cases
and the learning rates. Subspaces are
chosen once: the signs of singular vectors are LAPACK's choice and moments carry them over. Weight decay 0.1 leaves out biases and norms, as Trainer's groups do.
"""

import warnings

import bitsandbytes as bnb
import golden_io as io
import lion_pytorch
import schedulefree
import torch
from apollo_torch import APOLLOAdamW
from bitsandbytes.backends.cpu import ops as bnb_ops
from galore_torch import GaLoreAdamW
from transformers.optimization import Adafactor

SHAPES = {
    "model.embed_tokens.weight": (300, 16),
    "model.layers.0.mlp.up_proj.weight": (80, 64),
    "model.layers.0.mlp.down_proj.weight": (24, 40),
    "model.layers.0.self_attn.q_proj.bias": (64,),
    "model.norm.weight": (16,),
    "lm_head.weight": (30, 16),
}
PROJECTED = [n for n in SHAPES if "_proj.weight" in n]
STEPS, DECAY, BETAS, EPS = 8, 0.1, (0.9, 0.98), 1e-8
RATES = [0.01, 0.02, 0.03, 0.03, 0.02, 0.015, 0.01, 0.005]


def no_decay(name):
    return "bias" in name or "norm" in name


def groups(params, **keys):
    return [
        dict(params=[p for n, p in params.items() if not no_decay(n)], weight_decay=DECAY, **keys),
        dict(params=[p for n, p in params.items() if no_decay(n)], weight_decay=0.0, **keys),
    ]


def low_rank(cls, **keys):
    def make(params):
        plain = {n: p for n, p in params.items() if n not in PROJECTED}
        target = [p for n, p in params.items() if n in PROJECTED]
        return cls(groups(plain) + [dict(params=target, weight_decay=DECAY, **keys)], lr=0.01, betas=BETAS, eps=EPS)

    return make


def nearest_codes(values, code, absmax_out, out, blocksize):
    """As the CUDA kernel. The CPU kernel of 0.50.2 looks codes up in a table that is too coarse near zero."""
    x = torch.nn.functional.pad(values.flatten(), (0, -values.numel() % blocksize)).view(-1, blocksize)
    absmax = x.abs().max(dim=1).values
    scaled = (x / absmax.clamp(min=1e-38)[:, None]).flatten()[: values.numel()]
    absmax_out.copy_(absmax)
    out.copy_(torch.bucketize(scaled, (code[:-1] + code[1:]) / 2).to(torch.uint8).view(out.shape))


def eight_bit(params):
    bnb.optim.GlobalOptimManager.get_instance().override_config(params["model.embed_tokens.weight"], "optim_bits", 32)
    optimizer = bnb.optim.AdamW8bit(groups(params), lr=0.01, betas=BETAS, eps=EPS)
    return optimizer


class Muon(torch.optim.Optimizer):
    """torch's Muon on matrices and AdamW on the rest, as LLaMA-Factory splits them; f32 instead of bf16 inside."""

    def __init__(self, params):
        matrix = lambda n, p: p.ndim == 2 and "embed" not in n and "lm_head" not in n
        self.parts = [
            torch.optim.Muon(
                [p for n, p in params.items() if matrix(n, p)], weight_decay=DECAY, adjust_lr_fn="match_rms_adamw"
            ),
            torch.optim.AdamW(groups({n: p for n, p in params.items() if not matrix(n, p)}), betas=BETAS, eps=EPS),
        ]
        self.param_groups = [g for part in self.parts for g in part.param_groups]

    def step(self):
        plain = torch.Tensor.bfloat16
        torch.Tensor.bfloat16 = torch.Tensor.clone
        for part in self.parts:
            part.step()
        torch.Tensor.bfloat16 = plain


CASES = {
    "adamw": lambda p: torch.optim.AdamW(groups(p), betas=BETAS, eps=EPS),
    "adamw_8bit": eight_bit,
    "sgd": lambda p: torch.optim.SGD(groups(p), lr=0.01),
    "sgd-momentum": lambda p: torch.optim.SGD(groups(p), lr=0.01, momentum=0.9, dampening=0.1),
    "sgd-nesterov": lambda p: torch.optim.SGD(groups(p), lr=0.01, momentum=0.9, nesterov=True),
    "adagrad": lambda p: torch.optim.Adagrad(groups(p), lr=0.01, lr_decay=0.1),
    "rmsprop": lambda p: torch.optim.RMSprop(groups(p), lr=0.01),
    "rmsprop-centered": lambda p: torch.optim.RMSprop(groups(p), lr=0.01, momentum=0.8, centered=True, alpha=0.9),
    "lion": lambda p: lion_pytorch.Lion(groups(p), lr=0.01, betas=BETAS),
    "adafactor": lambda p: Adafactor(groups(p), lr=0.01, scale_parameter=False, relative_step=False),
    "muon": Muon,
    "schedule_free_adamw": lambda p: schedulefree.AdamWScheduleFree(
        groups(p), lr=0.01, betas=BETAS, eps=EPS, warmup_steps=3, r=0.5
    ),
    "schedule_free_sgd": lambda p: schedulefree.SGDScheduleFree(groups(p), lr=0.01, warmup_steps=2),
    "galore_adamw": low_rank(GaLoreAdamW, rank=4, update_proj_gap=100, scale=0.25, proj_type="std"),
    "galore_adamw-reverse": low_rank(GaLoreAdamW, rank=4, update_proj_gap=100, scale=2.0, proj_type="reverse_std"),
    "apollo_adamw": low_rank(
        APOLLOAdamW, rank=4, update_proj_gap=100, scale=1.0, proj_type="std", proj="svd", scale_type="channel"
    ),
    "apollo_adamw-tensor": low_rank(
        APOLLOAdamW, rank=4, update_proj_gap=100, scale=4.0, proj_type="std", proj="svd", scale_type="tensor"
    ),
}


def main():
    io.setup()
    bnb_ops._quant_blockwise_fp32_direct = nearest_codes
    warnings.simplefilter("ignore")
    g = io.generator("optimizers")
    start = {n: torch.randn(s, generator=g) * 0.3 for n, s in SHAPES.items()}
    grads = [{n: torch.randn(s, generator=g) * (0.1 + 0.1 * k) for n, s in SHAPES.items()} for k in range(STEPS)]
    tensors = {"start." + n: t for n, t in start.items()}
    tensors |= {f"grad.{k + 1}.{n}": t for k, step in enumerate(grads) for n, t in step.items()}
    for case, make in CASES.items():
        params = {n: torch.nn.Parameter(t.clone()) for n, t in start.items()}
        optimizer = make(params)
        free = "schedule_free" in case
        if free:
            optimizer.train()
        for k in range(STEPS):
            for group in optimizer.param_groups:
                group["lr"] = 0.01 if free else RATES[k]
            for n, p in params.items():
                p.grad = grads[k][n].clone()
            optimizer.step()
            if k == STEPS - 1:
                tensors |= {f"{case}.{k + 1}.{n}": p.detach().clone() for n, p in params.items()}
        if free:
            optimizer.eval()
            tensors |= {f"{case}.average.{n}": p.detach().clone() for n, p in params.items()}
    io.save_tensors(io.GOLDEN / "optimizers" / "golden.safetensors", tensors)
    from importlib.metadata import version

    versions = io.versions() | {
        name: version(name) for name in ("bitsandbytes", "schedulefree", "lion-pytorch", "galore_torch", "apollo-torch")
    }
    io.save_json(
        io.GOLDEN / "optimizers" / "golden.json",
        {"versions": versions, "cases": list(CASES), "rates": RATES, "steps": STEPS},
    )


if __name__ == "__main__":
    main()
