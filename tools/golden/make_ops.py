"""Forward and backward of single operations, and optimizer and schedule values, from PyTorch and Transformers.

    python tools/golden/make_ops.py

Writes tests/golden/ops/<op>.safetensors (tensors named <case>.<tensor>) and <op>.json (case -> parameters).
Inputs are f32; answers are computed in f64 from them and rounded to f32, unless the case says otherwise. Gradients
belong to sum(out * dout) for the stored dout. Token and sequence indices are i32, layouts those of kernels/backend.h:
sequences lie one after the other without padding, cu_seqlens tells where each starts.
"""

import math

import golden_io as io
import torch
import torch.nn.functional as F
import transformers
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS
from transformers.models.llama.modeling_llama import LlamaRMSNorm, LlamaRotaryEmbedding, apply_rotary_pos_emb

OPS = io.GOLDEN / "ops"


class Fixture:
    """Collects the cases of one operation and writes its two files."""

    def __init__(self, op):
        self.op, self.tensors, self.cases = op, {}, {}

    def random(self, case, name, *shape, scale=1.0, shift=0.0):
        x = torch.randn(*shape, generator=io.generator(self.op, case, name)) * scale + shift
        self.tensors[f"{case}.{name}"] = x
        return x.double().requires_grad_()

    def keep(self, case, **tensors):
        for name, t in tensors.items():
            t = t.detach()
            if t.dtype == torch.float64:
                t = t.float()
            if t.dtype == torch.int64:
                t = t.int()
            self.tensors[f"{case}.{name}"] = t

    def backward(self, case, out, inputs):
        """Stores out, a random dout and the gradient of each input as d<name>."""
        dout = torch.randn(out.shape, generator=io.generator(self.op, case, "dout"))
        grads = torch.autograd.grad((out * dout.double()).sum(), list(inputs.values()))
        self.keep(case, out=out, dout=dout, **{f"d{n}": g for n, g in zip(inputs, grads)})

    def save(self):
        if self.tensors:
            io.save_tensors(OPS / f"{self.op}.safetensors", self.tensors)
            (OPS / f"{self.op}.safetensors").chmod(0o644)
        io.save_json(OPS / f"{self.op}.json", {"cases": self.cases, "versions": io.versions()})


def rms_norm():
    fx = Fixture("rms_norm")
    for case, shape, eps in [("hidden", (7, 48), 1e-6), ("heads", (5, 3, 16), 1e-5), ("odd", (3, 37), 1e-6), ("one", (1, 1), 1e-6)]:
        x = fx.random(case, "x", *shape)
        w = fx.random(case, "weight", shape[-1], scale=0.3, shift=1.0)
        y = x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + eps) * w
        fx.backward(case, y, {"x": x, "weight": w})
        fx.cases[case] = {"eps": eps}
    # A row of tiny values, where eps rules.
    x = fx.random("tiny", "x", 2, 32, scale=1e-4)
    w = fx.random("tiny", "weight", 32, scale=0.3, shift=1.0)
    fx.backward("tiny", x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6) * w, {"x": x, "weight": w})
    fx.cases["tiny"] = {"eps": 1e-6}
    # The module itself in bf16, where the place of the rounding shows.
    norm = LlamaRMSNorm(64, eps=1e-5).bfloat16()
    g = io.generator("rms_norm", "bf16")
    x = torch.randn(6, 64, generator=g).bfloat16()
    with torch.no_grad():
        norm.weight.copy_(1 + 0.3 * torch.randn(64, generator=g))
    fx.keep("bf16", x=x, weight=norm.weight, out=norm(x))
    fx.cases["bf16"] = {"eps": 1e-5, "forward_only": True}
    fx.save()


def layer_norm():
    fx = Fixture("layer_norm")
    for case, shape, bias in [("bias", (6, 40), True), ("no_bias", (4, 33), False), ("offset", (3, 64), True)]:
        x = fx.random(case, "x", *shape, shift=30.0 if case == "offset" else 0.0)
        inputs = {"x": x, "weight": fx.random(case, "weight", shape[-1], scale=0.3, shift=1.0)}
        if bias:
            inputs["bias"] = fx.random(case, "bias", shape[-1], scale=0.5)
        y = F.layer_norm(x, (shape[-1],), inputs["weight"], inputs.get("bias"), 1e-5)
        fx.backward(case, y, inputs)
        fx.cases[case] = {"eps": 1e-5}
    fx.save()


ROTARY = {
    # case: (head_dim, max_position_embeddings, rope parameters, length given to dynamic scaling)
    "default": (16, 64, dict(rope_type="default", rope_theta=10000.0), None),
    "default_theta_1e6": (128, 32768, dict(rope_type="default", rope_theta=1e6), None),
    "linear": (16, 64, dict(rope_type="linear", rope_theta=10000.0, factor=4.0), None),
    "dynamic_inside": (16, 32, dict(rope_type="dynamic", rope_theta=10000.0, factor=2.0), 20),
    "dynamic_beyond": (16, 32, dict(rope_type="dynamic", rope_theta=10000.0, factor=2.0), 57),
    "llama3": (
        16,
        256,
        dict(
            rope_type="llama3",
            rope_theta=10000.0,
            factor=8.0,
            low_freq_factor=1.0,
            high_freq_factor=4.0,
            original_max_position_embeddings=64,
        ),
        None,
    ),
    "llama3_8b": (
        128,
        131072,
        dict(
            rope_type="llama3",
            rope_theta=500000.0,
            factor=8.0,
            low_freq_factor=1.0,
            high_freq_factor=4.0,
            original_max_position_embeddings=8192,
        ),
        None,
    ),
    "yarn": (
        16,
        128,
        dict(rope_type="yarn", rope_theta=10000.0, factor=4.0, original_max_position_embeddings=32),
        None,
    ),
    "yarn_qwen": (
        128,
        131072,
        dict(rope_type="yarn", rope_theta=1e6, factor=4.0, original_max_position_embeddings=32768),
        None,
    ),
    "yarn_betas_not_truncated": (
        32,
        4096,
        dict(
            rope_type="yarn",
            rope_theta=10000.0,
            factor=8.0,
            original_max_position_embeddings=512,
            beta_fast=16.0,
            beta_slow=2.0,
            truncate=False,
        ),
        None,
    ),
    "yarn_mscale": (
        32,
        4096,
        dict(
            rope_type="yarn",
            rope_theta=10000.0,
            factor=40.0,
            original_max_position_embeddings=512,
            mscale=1.0,
            mscale_all_dim=0.7,
        ),
        None,
    ),
    "yarn_attention_factor": (
        32,
        4096,
        dict(
            rope_type="yarn", rope_theta=10000.0, factor=8.0, original_max_position_embeddings=512, attention_factor=1.25
        ),
        None,
    ),
}


def rotary():
    """Tables as Transformers makes them in f32; the rotation of a packed pair of sequences and its backward."""
    fx = Fixture("rotary")
    for case, (head_dim, max_pos, params, length) in ROTARY.items():
        config = transformers.LlamaConfig(
            hidden_size=2 * head_dim,
            num_attention_heads=2,
            head_dim=head_dim,
            max_position_embeddings=max_pos,
            rope_parameters=dict(params),
        )
        module = LlamaRotaryEmbedding(config)
        if length is not None:
            inv_freq, factor = ROPE_INIT_FUNCTIONS["dynamic"](config, seq_len=length)
            module.register_buffer("inv_freq", inv_freq, persistent=False)
            module.rope_type = "fixed"  # the table of this length, not that of the positions below
        else:
            inv_freq, factor = module.inv_freq, module.attention_scaling
        last = (length or max_pos) - 1
        positions = list(range(9)) + list(range(6)) + [last // 3, last - 1, last]
        cos, sin = module(torch.zeros(1), torch.tensor([positions]))
        x = torch.randn(len(positions), 2, head_dim, generator=io.generator("rotary", case, "x")).requires_grad_()
        out, _ = apply_rotary_pos_emb(x.transpose(0, 1)[None], x.transpose(0, 1)[None], cos, sin)
        out = out[0].transpose(0, 1)
        dout = torch.randn(out.shape, generator=io.generator("rotary", case, "dout"))
        (dx,) = torch.autograd.grad((out * dout).sum(), x)
        half = head_dim // 2
        fx.keep(
            case,
            inv_freq=inv_freq,
            positions=torch.tensor(positions),
            cos=cos[0, :, :half],
            sin=sin[0, :, :half],
        )
        if head_dim <= 32:
            fx.keep(case, x=x, out=out, dout=dout, dx=dx)
        fx.cases[case] = {
            "head_dim": head_dim,
            "max_position_embeddings": max_pos,
            "rope_parameters": params,
            "sequence_length": length,
            "attention_factor": float(factor),
        }
    fx.save()


def visible(nq, nk, causal, window):
    """[nq, nk] mask, the last query aligned with the last key."""
    i = torch.arange(nq)[:, None] + nk - nq
    j = torch.arange(nk)[None]
    mask = torch.ones(nq, nk, dtype=torch.bool)
    if causal:
        mask &= j <= i
    if window:
        mask &= i - j < window
    return mask


ATTENTION = {
    # case: (heads, kv_heads, head_dim, query lengths, key lengths, causal, window)
    "one_head": (1, 1, 8, [5], [5], True, 0),
    "grouped": (4, 2, 8, [33, 1, 66], [33, 1, 66], True, 0),
    "one_kv_head": (4, 1, 20, [17, 9], [17, 9], True, 0),
    "window": (2, 1, 8, [6, 70], [6, 70], True, 7),
    "window_of_one": (2, 1, 8, [9], [9], True, 1),
    "both_ways": (2, 2, 16, [12, 31], [12, 31], False, 0),
    "prefix": (2, 1, 16, [11, 4], [16, 9], True, 0),  # queries that also see earlier keys: cache or virtual tokens
    "decode": (4, 2, 16, [1, 1, 1], [1, 65, 20], True, 0),
    "decode_window": (4, 2, 16, [1, 1], [30, 5], True, 8),
    "wide_head": (2, 1, 128, [10, 3], [10, 3], True, 0),
    "large_scores": (2, 2, 16, [24], [24], True, 0),
}


def attention():
    fx = Fixture("attention")
    for case, (heads, kv, dim, nq, nk, causal, window) in ATTENTION.items():
        big = 8.0 if case == "large_scores" else 1.0
        q = fx.random(case, "q", sum(nq), heads, dim, scale=big)
        k = fx.random(case, "k", sum(nk), kv, dim, scale=big)
        v = fx.random(case, "v", sum(nk), kv, dim)
        scale = 1 / math.sqrt(dim)
        outs, lses, a, b = [], [], 0, 0
        for n, m in zip(nq, nk):
            qs = q[a : a + n].transpose(0, 1)
            ks = k[b : b + m].transpose(0, 1).repeat_interleave(heads // kv, 0)
            vs = v[b : b + m].transpose(0, 1).repeat_interleave(heads // kv, 0)
            scores = (qs @ ks.transpose(1, 2)) * scale
            scores = scores.masked_fill(~visible(n, m, causal, window), -math.inf)
            outs.append((scores.softmax(-1) @ vs).transpose(0, 1))
            lses.append(scores.logsumexp(-1))
            a, b = a + n, b + m
        fx.backward(case, torch.cat(outs), {"q": q, "k": k, "v": v})
        fx.keep(
            case,
            lse=torch.cat(lses, 1),
            cu_q=torch.tensor([0] + nq).cumsum(0),
            cu_k=torch.tensor([0] + nk).cumsum(0),
        )
        fx.cases[case] = {"scale": scale, "causal": causal, "window": window}
    fx.save()


def swiglu():
    fx = Fixture("swiglu")
    for case, shape, size in [("plain", (6, 40), 1.0), ("odd", (3, 37), 1.0), ("large", (4, 24), 12.0)]:
        gate = fx.random(case, "gate", *shape, scale=size)
        up = fx.random(case, "up", *shape)
        fx.backward(case, F.silu(gate) * up, {"gate": gate, "up": up})
        fx.cases[case] = {}
    fx.save()


def embedding():
    fx = Fixture("embedding")
    table = fx.random("repeated", "table", 11, 24)
    ids = torch.tensor([3, 3, 0, 10, 7, 3, 0, 9, 10, 5])
    fx.backward("repeated", table[ids], {"table": table})
    fx.keep("repeated", ids=ids)
    fx.cases["repeated"] = {}
    fx.save()


def linear_lora():
    """y = x W^T + b + scale * (x A^T) B^T, scale = alpha / r or, for rsLoRA, alpha / sqrt(r)."""
    fx = Fixture("linear_lora")
    for case, rows, n_in, n_out, r, alpha, rslora, bias in [
        ("plain", 9, 24, 40, 4, 8.0, False, False),
        ("bias", 7, 33, 17, 8, 16.0, False, True),
        ("rslora", 10, 32, 24, 16, 8.0, True, True),
        ("rank_one", 5, 16, 16, 1, 2.0, False, False),
        ("one_row", 1, 48, 20, 4, 4.0, True, False),
    ]:
        scale = alpha / (math.sqrt(r) if rslora else r)
        inputs = {
            "x": fx.random(case, "x", rows, n_in),
            "weight": fx.random(case, "weight", n_out, n_in, scale=n_in**-0.5),
            "lora_A": fx.random(case, "lora_A", r, n_in, scale=n_in**-0.5),
            "lora_B": fx.random(case, "lora_B", n_out, r, scale=0.4),
        }
        y = inputs["x"] @ inputs["weight"].T + scale * (inputs["x"] @ inputs["lora_A"].T @ inputs["lora_B"].T)
        if bias:
            inputs["bias"] = fx.random(case, "bias", n_out)
            y = y + inputs["bias"]
        fx.backward(case, y, inputs)
        fx.cases[case] = {"r": r, "lora_alpha": alpha, "use_rslora": rslora, "scale": scale}
    fx.save()


def cross_entropy():
    """The loss head: logits = hidden W^T, sum of the labelled rows' losses / num_items. Labels are already shifted."""
    fx = Fixture("cross_entropy")
    for case, rows, hidden, vocab, ignored, items, size in [
        ("all_labelled", 6, 16, 29, [], 6, 1.0),
        ("some_ignored", 12, 24, 67, [0, 1, 2, 7, 11], 7, 1.0),
        ("part_of_a_batch", 9, 16, 50, [0, 4], 31, 1.0),  # num_items counts the whole accumulated batch
        ("large_logits", 5, 32, 40, [2], 4, 25.0),
        ("none_labelled", 4, 8, 12, [0, 1, 2, 3], 10, 1.0),
    ]:
        h = fx.random(case, "hidden", rows, hidden, scale=size)
        w = fx.random(case, "weight", vocab, hidden, scale=hidden**-0.5)
        labels = torch.randint(0, vocab, (rows,), generator=io.generator("cross_entropy", case, "labels"))
        labels[ignored] = -100
        logits = h @ w.T
        losses = F.cross_entropy(logits, labels, ignore_index=-100, reduction="none")
        loss = losses.sum() / items
        dh, dw, dlogits = torch.autograd.grad(loss, (h, w, logits))
        fx.keep(
            case, labels=labels, logits=logits, row_losses=losses, loss=loss, dhidden=dh, dweight=dw, dlogits=dlogits
        )
        fx.cases[case] = {"num_items": items, "loss": loss.item()}
    fx.save()


def adamw():
    """torch.optim.AdamW itself in f32: five steps, the learning rate changing as under a schedule."""
    fx = Fixture("adamw")
    for case, decay, betas, eps, clip in [
        ("decay", 0.01, (0.9, 0.999), 1e-8, 0.0),
        ("no_decay", 0.0, (0.9, 0.999), 1e-8, 0.0),
        ("other_betas", 0.1, (0.8, 0.95), 1e-6, 0.0),
        ("clipped", 0.01, (0.9, 0.999), 1e-8, 1.0),
    ]:
        g = io.generator("adamw", case)
        parameter = torch.nn.Parameter(torch.randn(37, generator=g))
        fx.keep(case, **{"parameter.0": parameter.clone()})
        optimizer = torch.optim.AdamW([parameter], lr=1.0, betas=betas, eps=eps, weight_decay=decay)
        rates, norms = [0.0, 1e-3, 3e-3, 2e-3, 5e-4], []
        for step, rate in enumerate(rates, 1):
            grad = torch.randn(37, generator=g) * [0.5, 2.0, 1e-3, 0.0, 1.0][step - 1]
            fx.keep(case, **{f"gradient.{step}": grad.clone()})
            parameter.grad = grad
            norms.append(torch.nn.utils.clip_grad_norm_([parameter], clip or math.inf).item())
            optimizer.param_groups[0]["lr"] = rate
            optimizer.step()
            state = optimizer.state[parameter]
            fx.keep(
                case,
                **{f"parameter.{step}": parameter.clone(), f"m.{step}": state["exp_avg"].clone(), f"v.{step}": state["exp_avg_sq"].clone()},
            )
        fx.cases[case] = {
            "learning_rates": rates,
            "beta1": betas[0],
            "beta2": betas[1],
            "epsilon": eps,
            "weight_decay": decay,
            "max_grad_norm": clip,
            "grad_norms": norms,
        }
    fx.save()


def schedules():
    """The learning rate of every step k = 0 … T+2, as the optimizer would use it."""
    fx = Fixture("schedules")
    cases = []
    for warmup, total in [(0, 20), (10, 100), (5, 7), (1, 1)]:
        for name, kwargs in [
            ("linear", {}),
            ("cosine", {}),
            ("cosine", {"num_cycles": 1.25}),
            ("cosine_with_restarts", {}),
            ("cosine_with_restarts", {"num_cycles": 3}),
            ("polynomial", {}),
            ("polynomial", {"power": 2.0, "lr_end": 1e-6}),
            ("constant", {}),
            ("constant_with_warmup", {}),
            ("inverse_sqrt", {}),
            ("inverse_sqrt", {"timescale": 30}),
            ("cosine_with_min_lr", {"min_lr_rate": 0.1}),
            ("cosine_with_min_lr", {"min_lr": 2e-5, "num_cycles": 0.5}),
            ("cosine_warmup_with_min_lr", {"min_lr_rate": 0.1}),
            ("cosine_warmup_with_min_lr", {"min_lr": 1e-5, "warmup_lr_rate": 0.05}),
            ("warmup_stable_decay", {"num_decay_steps": max(1, total // 4)}),
            (
                "warmup_stable_decay",
                {
                    "num_stable_steps": (total - warmup) // 3,
                    "num_decay_steps": total - warmup - (total - warmup) // 3,
                    "min_lr_ratio": 0.1,
                    "warmup_type": "cosine",
                    "decay_type": "linear",
                },
            ),
            (
                "warmup_stable_decay",
                {"num_decay_steps": max(1, total // 4), "decay_type": "1-sqrt", "warmup_type": "1-sqrt"},
            ),
        ]:
            if name == "polynomial" and total == warmup:
                continue  # Transformers divides by zero
            cases.append((name, dict(kwargs), warmup, total))
    base = 2e-4
    for index, (name, kwargs, warmup, total) in enumerate(cases):
        optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=base)
        schedule = transformers.get_scheduler(name, optimizer, warmup, total, dict(kwargs))
        rates = []
        for _ in range(total + 3):
            rates.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            schedule.step()
        fx.cases[f"{index:02d}.{name}"] = {
            "lr_scheduler_type": name,
            "lr_scheduler_kwargs": kwargs,
            "learning_rate": base,
            "warmup_steps": warmup,
            "max_steps": total,
            "rates": [float(f"{r:.12g}") for r in rates],
        }
    fx.save()


if __name__ == "__main__":
    io.setup()
    import warnings

    warnings.simplefilter("ignore")
    transformers.logging.set_verbosity_error()
    for make in (
        rms_norm, layer_norm, rotary, attention, swiglu, embedding, linear_lora, cross_entropy, adamw, schedules
    ):  # fmt: skip
        make()
        print(make.__name__)
