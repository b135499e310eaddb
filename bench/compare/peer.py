"""One workload with PyTorch, Transformers and PEFT; prints one JSON line a step. Started by compare.py."""

import argparse
import json
import time

START = time.perf_counter()

import torch
from peft import LoraConfig, get_peft_model
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


def train(a):
    rows = [json.loads(line) for line in open(a.rows)]
    model = load(a).train()
    params = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(params, lr=a.learning_rate, weight_decay=0.0)
    say(event="ready", seconds=time.perf_counter() - START)
    for step in range(a.steps):
        batch = rows[step * a.batch : (step + 1) * a.batch]
        begin = time.perf_counter()
        micro = a.micro or a.batch
        labelled = sum(1 for row in batch for label in row["labels"][1:] if label != -100)
        total = 0.0
        for first in range(0, len(batch), micro):
            part = batch[first : first + micro]
            width = a.pad or max(len(row["input_ids"]) for row in part)
            ids = torch.zeros((len(part), width), dtype=torch.long)
            mask, labels = torch.zeros_like(ids), torch.full_like(ids, -100)
            for i, row in enumerate(part):
                n = len(row["input_ids"])
                ids[i, :n] = torch.tensor(row["input_ids"])
                labels[i, :n] = torch.tensor(row["labels"])
                mask[i, :n] = 1
            loss = model(input_ids=ids, attention_mask=mask, labels=labels, num_items_in_batch=torch.tensor(labelled)).loss
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
        begin = time.perf_counter()
        out = model.generate(prompt, max_new_tokens=a.steps, do_sample=False, eos_token_id=None)
        whole = time.perf_counter() - begin
    say(event="generate", prompt=prompt.shape[1] / first, decode=(a.steps - 1) / (whole - first), ids=out[0, prompt.shape[1] :].tolist())


def main():
    p = argparse.ArgumentParser()
    for name in ("model", "rows", "mode", "dtype", "attention"):
        p.add_argument("--" + name, required=True)
    for name in ("steps", "batch", "micro", "pad"):
        p.add_argument("--" + name, type=int, default=0)
    p.add_argument("--learning_rate", type=float, default=5e-5)
    a = p.parse_args()
    torch.manual_seed(1)
    generate(a) if a.mode == "generate" else train(a)


if __name__ == "__main__":
    main()
