"""Bottleneck adapters on the tiny models of make_models.py, with the answers of AdapterHub's library.

    python tools/golden/make_bottlenecks.py        (adapters 1.3.0 with transformers 4.57.6, in an environment of their own)

Writes tests/golden/bottlenecks/<model>-<case>/: the folder as save_adapter writes it (safetensors; one case as .bin),
golden.json (rows, loss, versions) and golden.safetensors with logits.0 and grad.<key> of the loss of make_models.py.
"""

import json
import pathlib
import shutil
import warnings

import adapters
import torch
import transformers
from safetensors.torch import save_file

GOLDEN = pathlib.Path(__file__).resolve().parents[2] / "tests" / "golden"
CASES = {
    "houlsby": adapters.DoubleSeqBnConfig(reduction_factor=4),
    "pfeiffer": adapters.SeqBnConfig(reduction_factor=8),
    "parallel": adapters.ParBnConfig(reduction_factor=4),
    "gelu-leave-out": adapters.SeqBnConfig(reduction_factor={"1": 4, "default": 16}, non_linearity="gelu", leave_out=[0]),
}


def make(name, case, config):
    folder = GOLDEN / "bottlenecks" / f"{name}-{case}"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    base = GOLDEN / "models" / name
    model = transformers.AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32, attn_implementation="eager")
    adapters.init(model)
    model.add_adapter("field", config=config)
    model.train_adapter("field")
    model.eval()
    g = torch.Generator().manual_seed(sum(map(ord, name + case)))
    params = {k: p for k, p in model.named_parameters() if p.requires_grad and ".field." in k}
    with torch.no_grad():
        for p in params.values():
            p.copy_(torch.randn(p.shape, generator=g) * (0.3 if p.ndim == 1 else 1 / p.shape[1] ** 0.5))
    model.save_adapter(str(folder), "field", with_head=False, use_safetensors=case != "parallel")
    path = folder / "adapter_config.json"
    written = json.loads(path.read_text())
    written["model_name"] = name
    path.write_text(json.dumps(written, indent=2, sort_keys=True))
    rows = json.loads((GOLDEN / "models" / name / "golden.json").read_text())["rows"]
    total, count, tensors = 0, 0, {}
    for i, row in enumerate(rows):
        logits = model(input_ids=torch.tensor([row["input_ids"]])).logits[0]
        labels = torch.tensor(row["labels"])
        if i == 0:
            tensors["logits.0"] = logits.detach().contiguous()
        total = total + torch.nn.functional.cross_entropy(logits[:-1], labels[1:], ignore_index=-100, reduction="sum")
        count += int((labels[1:] != -100).sum())
    loss = total / count
    loss.backward()
    tensors |= {"grad." + k: p.grad.clone() for k, p in params.items()}
    save_file(tensors, str(folder / "golden.safetensors"), metadata={"format": "pt"})
    versions = {"torch": torch.__version__, "transformers": transformers.__version__, "adapters": adapters.__version__}
    golden = {"versions": versions, "loss": loss.item(), "parameters": sum(p.numel() for p in params.values())}
    (folder / "golden.json").write_text(json.dumps(golden, indent=1) + "\n")


def main():
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    for name in ("llama", "qwen2", "gpt2"):
        for case, config in CASES.items():
            if name == "llama" or case != "gelu-leave-out":
                make(name, case, config)


if __name__ == "__main__":
    main()
