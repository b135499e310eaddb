"""One workload with PyTorch, Transformers and PEFT; prints one JSON line a step. Started by compare.py."""

import argparse
import json
import time

START = time.perf_counter()

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoModelForCausalLM

LINEARS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


def say(**values):
    print("RESULT " + json.dumps(values), flush=True)


def load(a):
    keys = dict(dtype=getattr(torch, a.dtype), attn_implementation=a.attention)
    if a.mode == "qlora":
        from transformers import BitsAndBytesConfig

        keys["quantization_config"] = BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=getattr(torch, a.dtype),
        )
    model = AutoModelForCausalLM.from_pretrained(a.model, **keys)
    if a.mode in ("lora", "qlora"):
        model = get_peft_model(model, LoraConfig(r=16, lora_alpha=32, target_modules=LINEARS, task_type="CAUSAL_LM"))
    return model


def padded(rows, width):
    """Rows side by side, filled up to `width` or the longest."""
    width = width or max(len(row["input_ids"]) for row in rows)
    ids = torch.zeros((len(rows), width), dtype=torch.long)
    mask, labels = torch.zeros_like(ids), torch.full_like(ids, -100)
    for i, row in enumerate(rows):
        n = len(row["input_ids"])
        ids[i, :n] = torch.tensor(row["input_ids"])
        labels[i, :n] = torch.tensor(row["labels"])
        mask[i, :n] = 1
    return dict(input_ids=ids, attention_mask=mask, labels=labels)


def packed(rows):
    """Rows one after another in a single one: Transformers sees from the positions where a new one begins."""
    join = lambda parts: torch.tensor([[x for part in parts for x in part]])
    return dict(
        input_ids=join(row["input_ids"] for row in rows),
        labels=join([-100, *row["labels"][1:]] for row in rows),
        position_ids=join(range(len(row["input_ids"])) for row in rows),
    )


def train(a):
    rows = [json.loads(line) for line in open(a.rows)]
    model = load(a).train()
    params = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(params, lr=a.learning_rate, weight_decay=0.0)
    if a.compile:
        model = torch.compile(model)
    say(event="ready", seconds=time.perf_counter() - START)
    for step in range(a.steps):
        batch = rows[step * a.batch : (step + 1) * a.batch]
        begin = time.perf_counter()
        micro = a.micro or a.batch
        labelled = sum(1 for row in batch for label in row["labels"][1:] if label != -100)
        total = 0.0
        for first in range(0, len(batch), micro):
            part = batch[first : first + micro]
            inputs = packed(part) if a.packed else padded(part, a.pad)
            loss = model(**inputs, num_items_in_batch=torch.tensor(labelled), use_cache=False).loss
            loss.backward()
            total += loss.item()
        torch.nn.utils.clip_grad_norm_(params, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        tokens = sum(len(row["input_ids"]) for row in batch)
        say(event="step", loss=total, tokens=tokens, seconds=time.perf_counter() - begin)


def generate(a):
    rows = [json.loads(line) for line in open(a.rows)]
    model = load(a).eval()
    say(event="ready", seconds=time.perf_counter() - START)
    prompt = torch.tensor([rows[0]["input_ids"]])
    with torch.no_grad():
        begin = time.perf_counter()
        model.generate(prompt, max_new_tokens=1, do_sample=False, eos_token_id=None)
        first = time.perf_counter() - begin
        if a.steps == 1:
            return
        begin = time.perf_counter()
        out = model.generate(prompt, max_new_tokens=a.steps, do_sample=False, eos_token_id=None)
        whole = time.perf_counter() - begin
    say(event="generate", prompt=prompt.shape[1] / first, decode=(a.steps - 1) / (whole - first), ids=out[0, prompt.shape[1] :].tolist())


def merge(a):
    model = PeftModel.from_pretrained(load(a), a.adapter)
    model.merge_and_unload().save_pretrained(a.output)


def main():
    p = argparse.ArgumentParser()
    for name in ("model", "mode", "dtype"):
        p.add_argument("--" + name, required=True)
    for name in ("steps", "batch", "micro", "pad"):
        p.add_argument("--" + name, type=int, default=0)
    for name in ("rows", "adapter", "output"):
        p.add_argument("--" + name, default="")
    p.add_argument("--attention", default="sdpa")
    p.add_argument("--compile", action="store_true", help="torch.compile")
    p.add_argument("--packed", action="store_true", help="the rows of a micro-batch in one row")
    p.add_argument("--learning_rate", type=float, default=5e-5)
    a = p.parse_args()
    torch.manual_seed(1)
    {"generate": generate, "merge": merge}.get(a.mode, train)(a)


if __name__ == "__main__":
    main()
