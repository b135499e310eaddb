"""First values of LoRA by the initialisations that look at data or at a quantised base, on the tiny models.

    python tools/golden/make_lora_inits.py

Writes tests/golden/lora_inits/<model>-<case>/ with golden.json (the keys of adapter_config.json that made it, versions,
rank and alpha of each module) and golden.safetensors: a.<path> and b.<path>, and for LoftQ base.<path>.
The data are the rows of make_models.py, one batch each. EVA's decompositions are the exact ones (lowrank=False), as the
random ones are approximate; LoftQ runs on the CPU, where PEFT wants a GPU, and with the generic dequantiser of
bitsandbytes, as that for CPUs is wrong for rows that are no whole number of blocks.
"""

import inspect
import json
import pathlib
import shutil
import warnings

import bitsandbytes
import make_quantized
import peft
import torch
import transformers
from peft import EvaConfig, LoftQConfig, LoraConfig, get_peft_model
from peft.tuners.lora.config import CordaConfig, LoraGAConfig
from peft.tuners.lora.corda import preprocess_corda
from peft.tuners.lora.eva import initialize_lora_eva_weights
from peft.tuners.lora.loraga import preprocess_loraga
from peft.utils import loftq_utils
from peft.utils.incremental_pca import IncrementalPCA
from safetensors.torch import save_file

GOLDEN = pathlib.Path(__file__).resolve().parents[2] / "tests" / "golden"
bitsandbytes.functional.dequantize_4bit = make_quantized.dequantize_4bit
exec(inspect.getsource(loftq_utils.loftq_init).replace('"cuda"', '"cpu"'), loftq_utils.__dict__)
peft.tuners.lora.eva.IncrementalPCA = lambda **keys: IncrementalPCA(n_components=keys["n_components"])
peft.tuners.lora.layer.loftq_init = loftq_utils.loftq_init

CASES = {
    "eva": dict(init_lora_weights="eva", r=2, eva_config=EvaConfig(rho=2.0, tau=0.9)),
    "eva-plain": dict(
        init_lora_weights="eva", r=3, eva_config=EvaConfig(rho=1.0, tau=0.95, use_label_mask=False)
    ),
    "corda-ipm": dict(init_lora_weights="corda", r=4, corda_config=CordaConfig(corda_method="ipm")),
    "corda-kpm": dict(init_lora_weights="corda", r=4, corda_config=CordaConfig(corda_method="kpm")),
    "lora-ga": dict(init_lora_weights="lora_ga", r=4, lora_ga_config=LoraGAConfig()),
    "lora-ga-unit": dict(init_lora_weights="lora_ga", r=4, lora_ga_config=LoraGAConfig(direction="ArBr", scale="unit")),
    "lora-ga-gd": dict(init_lora_weights="lora_ga", r=4, lora_ga_config=LoraGAConfig(direction="A2rBr", scale="gd_scale")),
    "lora-ga-svd": dict(init_lora_weights="lora_ga", r=4, lora_ga_config=LoraGAConfig(scale="weight_svd")),
    "loftq": dict(init_lora_weights="loftq", r=4, loftq_config=LoftQConfig(loftq_bits=4, loftq_iter=1)),
    "loftq-3": dict(init_lora_weights="loftq", r=4, loftq_config=LoftQConfig(loftq_bits=4, loftq_iter=3)),
}
TARGETS = {"gpt2": ["c_attn", "c_proj", "c_fc"]}
LINEARS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


def batches(name):
    for row in json.loads((GOLDEN / "models" / name / "golden.json").read_text())["rows"]:
        yield {"input_ids": torch.tensor([row["input_ids"]]), "labels": torch.tensor([row["labels"]])}


def plain(value):
    return {k: v for k, v in vars(value).items() if v is not None} if hasattr(value, "__dict__") else value


def make(name, case, keys):
    folder = GOLDEN / "lora_inits" / f"{name}-{case}"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    base = transformers.AutoModelForCausalLM.from_pretrained(
        GOLDEN / "models" / name, dtype=torch.float32, attn_implementation="eager"
    )
    config = LoraConfig(task_type="CAUSAL_LM", lora_alpha=8, target_modules=list(TARGETS.get(name, LINEARS)), **keys)
    rows = list(batches(name))

    def forward():
        for row in rows:
            base(input_ids=row["input_ids"])

    def train_step():
        for row in rows:
            base(**row).loss.backward()

    torch.manual_seed(0)
    if config.init_lora_weights == "corda":
        preprocess_corda(base, config, run_model=forward)
    if config.init_lora_weights == "lora_ga":
        preprocess_loraga(base, config, train_step)
    model = get_peft_model(base, config)
    if config.init_lora_weights == "eva":
        initialize_lora_eva_weights(model, rows, show_progress_bar=False)
    tensors, ranks, scales = {}, {}, {}
    for path, module in model.named_modules():
        if not hasattr(module, "lora_A") or "default" not in module.lora_A:
            continue
        path = path.removeprefix("base_model.model.")
        tensors["a." + path] = module.lora_A["default"].weight.detach().clone().contiguous()
        tensors["b." + path] = module.lora_B["default"].weight.detach().clone().contiguous()
        if case.startswith("loftq"):
            tensors["base." + path] = module.base_layer.weight.detach().clone().contiguous()
        ranks[path], scales[path] = module.r["default"], module.scaling["default"]
    save_file(tensors, str(folder / "golden.safetensors"), metadata={"format": "pt"})
    written = {k: plain(v) for k, v in keys.items()} | {"lora_alpha": 8, "target_modules": TARGETS.get(name, LINEARS)}
    versions = {m.__name__: m.__version__ for m in (torch, transformers, peft, bitsandbytes)}
    golden = {"versions": versions, "config": written, "ranks": ranks, "scales": scales}
    (folder / "golden.json").write_text(json.dumps(golden, indent=1) + "\n")
    print(folder.name, sorted(set(ranks.values())), len(ranks))


def main():
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    for name in ("llama", "qwen2", "gpt2"):
        for case, keys in CASES.items():
            if name == "llama" or case in ("eva", "corda-ipm", "lora-ga") or (name == "qwen2" and case == "loftq"):
                make(name, case, keys)


if __name__ == "__main__":
    main()
