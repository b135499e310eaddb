"""Weights in 4 and 8 bits as bitsandbytes makes them, and model folders that Transformers saved with them.

    python tools/golden/make_quantized.py

Writes tests/golden/quantized/:
  blocks.safetensors    <case>.values and what bitsandbytes makes of them: <case>.packed, .absmax, .dequantized and,
                        nested, .nested_absmax, .nested_offset; the case is named kind-blocksize-dtype-RxC
                        `dynamic_map`; int8.<RxC>.values, .packed, .absmax
  llama-<kind>/         the llama of make_models.py, quantised and saved by Transformers; golden.safetensors with
                        logits.0 and, for its LoRA adapter, adapter.logits.0 and adapter.grad.<key>
"""

import shutil
import warnings

import bitsandbytes
import golden_io as io
import make_models
import torch
from bitsandbytes import functional as bnb
from bitsandbytes.backends.default import ops as default_ops
from peft import PeftModel
from transformers import AutoModelForCausalLM, BitsAndBytesConfig

QUANTIZED = io.GOLDEN / "quantized"
BLOCKSIZES = [32, 64, 128, 256, 512, 1024, 2048, 4096]
SHAPES = [(3, 43), (24, 64)]  # an odd number of elements with a short last block; whole blocks
WIDE = (520, 252)  # 2048 blocks of 64, the last one short


def dequantize_4bit(packed, state, *ignored, **ignored_too):
    """The generic implementation: the CPU kernel of 0.50.2 is wrong for rows that are no whole number of blocks."""
    absmax = state.absmax
    if state.nested:
        absmax = bnb.dequantize_blockwise(absmax, state.state2) + state.offset
    code = bnb.get_4bit_type(state.quant_type, device="cpu")
    return default_ops._dequantize_4bit_compute(
        packed.reshape(-1).view(torch.uint8), absmax, code, state.blocksize, state.shape, state.dtype
    )


def values(shape, dtype, key):
    g = io.generator("quantized", key)
    x = torch.randn(shape, generator=g) * (0.02 + 0.2 * torch.rand((shape[0], 1), generator=g))
    x[0, 0] = 0.0
    x[1, :40] = 0.0  # a block of 32 that may be all zero
    return x.to(dtype)


def blocks():
    tensors = {"dynamic_map": bnb.create_dynamic_map().float()}
    cases = [
        (kind, blocksize, dtype, shape, nested)
        for kind in ("nf4", "fp4")
        for blocksize in BLOCKSIZES
        for shape in (SHAPES if blocksize <= 64 else SHAPES[:1] + [(3, blocksize)])
        for dtype in ((torch.float32, torch.bfloat16, torch.float16) if blocksize == 64 else (torch.float32,))
        for nested in (False, True)
    ]
    cases += [("nf4", 64, torch.bfloat16, WIDE, True)]
    for kind, blocksize, dtype, shape, nested in cases:
        name = f"{kind}-{blocksize}-{str(dtype).split('.')[1]}-{shape[0]}x{shape[1]}" + ("-nested" if nested else "")
        x = values(shape, dtype, name)
        packed, state = bnb.quantize_4bit(x, blocksize=blocksize, quant_type=kind, compress_statistics=nested)
        tensors[name + ".values"] = x
        tensors[name + ".packed"] = packed.flatten()
        tensors[name + ".absmax"] = state.absmax
        tensors[name + ".dequantized"] = dequantize_4bit(packed, state)
        if nested:
            tensors[name + ".nested_absmax"] = state.state2.absmax
            tensors[name + ".nested_offset"] = state.offset.float().reshape(1)
    for shape in SHAPES:
        x = values(shape, torch.float16, f"int8 {shape}")
        packed, absmax, _ = bnb.int8_vectorwise_quant(x)
        name = f"int8.{shape[0]}x{shape[1]}"
        tensors |= {name + ".values": x, name + ".packed": packed, name + ".absmax": absmax}
    io.save_tensors(QUANTIZED / "blocks.safetensors", tensors)


def model(name, config):
    folder = QUANTIZED / name
    shutil.rmtree(folder, ignore_errors=True)
    base = make_models.MODELS / "llama"
    quantized = AutoModelForCausalLM.from_pretrained(
        base, quantization_config=config, dtype=torch.float32, attn_implementation="eager", device_map="cpu"
    ).eval()
    make_models.fresh_rotary(quantized)
    quantized.save_pretrained(folder)
    (folder / "generation_config.json").unlink(missing_ok=True)
    row = make_models.make_rows("llama", 136)[0]
    ids, labels = torch.tensor([row["input_ids"]]), torch.tensor([row["labels"]])
    tensors = {"logits.0": quantized(input_ids=ids).logits[0]}
    tuned = PeftModel.from_pretrained(quantized, base / "adapter", is_trainable=True).eval()
    out = tuned(input_ids=ids, labels=labels)
    out.loss.backward()
    tensors |= {"adapter.logits.0": out.logits[0], "adapter.loss": out.loss.reshape(1)}
    for key, p in tuned.named_parameters():
        if p.requires_grad:
            tensors["adapter.grad." + key.replace(".default", "")] = p.grad
    io.save_tensors(folder / "golden.safetensors", tensors)
    versions = io.versions() | {"bitsandbytes": bitsandbytes.__version__}
    io.save_json(folder / "golden.json", {"versions": versions, "row": row["input_ids"], "labels": row["labels"]})


def main():
    io.setup()
    bitsandbytes.nn.modules.has_avx512bf16 = lambda: False  # its repacked weights cannot hold short rows
    bitsandbytes.matmul_4bit = lambda x, w, quant_state, bias=None, **_: torch.nn.functional.linear(
        x, dequantize_4bit(w, quant_state), bias
    )
    # LLM.int8 also rounds activations to 8 bits; the fixture is the product with the weights that it stores.
    bitsandbytes.matmul = lambda x, w, state, bias=None, **_: torch.nn.functional.linear(
        x, bnb.int8_vectorwise_dequant(state.CB, state.SCB), bias
    )
    torch._dynamo.config.disable = True
    warnings.simplefilter("ignore")
    blocks()
    four = dict(load_in_4bit=True, bnb_4bit_compute_dtype=torch.float32)
    model("llama-nf4-double", BitsAndBytesConfig(**four, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True))
    model("llama-nf4", BitsAndBytesConfig(**four, bnb_4bit_quant_type="nf4"))
    model("llama-fp4", BitsAndBytesConfig(**four, bnb_4bit_quant_type="fp4"))
    model("llama-int8", BitsAndBytesConfig(load_in_8bit=True))


if __name__ == "__main__":
    main()
