"""Two LoRA adapters of the llama of make_models.py, what PEFT makes of them together, and a mixed batch.

    python tools/golden/make_combined.py

Writes tests/golden/combined/:
  one/, two/              adapters of rank 4 as PEFT saves them: alpha 8 on q, v and down; rsLoRA-free alpha 2 on q, v, o
  golden.safetensors
    <case>.<module>       the change s B A of each module after add_weighted_adapter with the case's options
    rows.<i>              logits of row i in one batch with adapter_names = ["one", "two", "__base__"]
    weighted.0            logits of row 0 with one scaled by 0.25 and two by 1, both active
  golden.json             cases and their options, rows
"""

import shutil
import warnings

import golden_io as io
import make_models
import torch
from peft import LoraConfig, PeftModel, get_peft_model

COMBINED = io.GOLDEN / "combined"
BASE = make_models.MODELS / "llama"
CASES = {
    "linear": dict(combination_type="linear", weights=[0.7, 0.3]),
    "linear-negative": dict(combination_type="linear", weights=[1.0, -0.5]),
    "cat": dict(combination_type="cat", weights=[0.7, -0.3]),
    "svd": dict(combination_type="svd", weights=[0.7, 0.3]),
    "svd-rank-3": dict(combination_type="svd", weights=[1.0, 1.0], svd_rank=3),
    "ties": dict(combination_type="ties", weights=[1.0, 0.5], density=0.4),
    "ties-frequency": dict(combination_type="ties", weights=[1.0, 0.5], density=0.6, majority_sign_method="frequency"),
    "ties_svd": dict(combination_type="ties_svd", weights=[1.0, 0.5], density=0.3),
    "magnitude_prune": dict(combination_type="magnitude_prune", weights=[0.8, 0.6], density=0.5),
    "magnitude_prune_svd": dict(combination_type="magnitude_prune_svd", weights=[0.8, 0.6], density=0.5),
    "dare_linear-all": dict(combination_type="dare_linear", weights=[0.8, 0.6], density=1.0),
    "dare_ties-all": dict(combination_type="dare_ties", weights=[0.8, 0.6], density=1.0),
}


def make_adapter(name, **keys):
    shutil.rmtree(COMBINED / name, ignore_errors=True)
    tuned = get_peft_model(make_models.load(BASE), LoraConfig(task_type="CAUSAL_LM", r=4, **keys))
    g = io.generator("combined", name)
    with torch.no_grad():
        for key, p in tuned.named_parameters():
            if "lora_" in key:
                p.copy_(torch.randn(p.shape, generator=g) * (0.3 if "lora_B" in key else 0.2))
    tuned.peft_config["default"].base_model_name_or_path = "llama"
    tuned.peft_config["default"].target_modules = sorted(keys["target_modules"])
    tuned.save_pretrained(COMBINED / name)
    (COMBINED / name / "README.md").unlink(missing_ok=True)


def main():
    io.setup()
    warnings.simplefilter("ignore")
    make_adapter("one", lora_alpha=8, target_modules=["q_proj", "v_proj", "down_proj"])
    make_adapter("two", lora_alpha=2, target_modules=["q_proj", "v_proj", "o_proj"])
    model = PeftModel.from_pretrained(make_models.load(BASE), COMBINED / "one", adapter_name="one")
    model.load_adapter(COMBINED / "two", adapter_name="two")
    model.eval()
    tensors = {}
    for case, options in CASES.items():
        model.add_weighted_adapter(["one", "two"], adapter_name=case, **options)
        for path, module in model.base_model.model.named_modules():
            if hasattr(module, "lora_A") and case in module.lora_A:
                tensors[f"{case}.{path}"] = module.get_delta_weight(case)
    rows = make_models.make_rows("llama", 136)[:3]
    length = min(len(r["input_ids"]) for r in rows)
    ids = torch.tensor([r["input_ids"][:length] for r in rows])
    with torch.no_grad():
        mixed = model(input_ids=ids, adapter_names=["one", "two", "__base__"]).logits
        tensors |= {f"rows.{i}": mixed[i] for i in range(3)}
        model.base_model.set_adapter(["one", "two"])
        for module in model.modules():
            if hasattr(module, "lora_A") and "one" in module.lora_A:
                module.set_scale("one", 0.25)
        tensors["weighted.0"] = model(input_ids=ids[:1]).logits[0]
    io.save_tensors(COMBINED / "golden.safetensors", tensors)
    io.save_json(COMBINED / "golden.json", {"versions": io.versions(), "cases": CASES, "rows": ids.tolist()})


if __name__ == "__main__":
    main()
