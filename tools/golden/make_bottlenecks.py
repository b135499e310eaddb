"""Bottleneck adapters on the tiny models of make_models.py, with the answers of AdapterHub's library.

    python tools/golden/make_bottlenecks.py        (adapters 1.3.0 with transformers 4.57.6, in an environment of their own)

Writes tests/golden/bottlenecks/<model>-<case>/: the folder as save_adapter writes it (safetensors; one case as .bin),
golden.json (loss, learning rate and losses of the steps, versions) and golden.safetensors with logits.0, grad.<key> of the
loss of make_models.py, and step.<key>, the parameter after three steps of torch's AdamW (weight decay 0) on the same rows.

tests/golden/fusions/<model>-<case>/ are the same for AdapterFusion of two adapters, which lie in folders of their names:
as save_adapter_fusion and save_adapter write them; `penalty` is the library's regularization loss, which its AdapterTrainer
adds to the loss, and so do the steps here.
tests/golden/stacks/<model>/ holds two adapters and the logits.0 of one above the other.
"""

import json
import pathlib
import shutil
import warnings

import adapters
import torch
import transformers
from adapters.composition import Fuse, Stack
from safetensors.torch import save_file

LEARNING_RATE = 5e-3
GOLDEN = pathlib.Path(__file__).resolve().parents[2] / "tests" / "golden"
CASES = {
    "houlsby": adapters.DoubleSeqBnConfig(reduction_factor=4),
    "pfeiffer": adapters.SeqBnConfig(reduction_factor=8),
    "parallel": adapters.ParBnConfig(reduction_factor=4),
    "gelu-leave-out": adapters.SeqBnConfig(reduction_factor={"1": 4, "default": 16}, non_linearity="gelu", leave_out=[0]),
}


def new_folder(*parts):
    folder = GOLDEN.joinpath(*parts)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def load(name):
    model = transformers.AutoModelForCausalLM.from_pretrained(
        GOLDEN / "models" / name, dtype=torch.float32, attn_implementation="eager"
    )
    adapters.init(model)
    return model


def randomise(model, seed, chosen):
    g = torch.Generator().manual_seed(sum(map(ord, seed)))
    params = {k: p for k, p in model.named_parameters() if chosen(k)}
    with torch.no_grad():
        for p in params.values():
            p.copy_(torch.randn(p.shape, generator=g) * (0.3 if p.ndim == 1 else 1 / p.shape[1] ** 0.5))
    return params


def anonymous(path, name):
    written = json.loads(path.read_text())
    written["model_name"] = name
    path.write_text(json.dumps(written, indent=2, sort_keys=True))


def row_logits(model, row):
    return model(input_ids=torch.tensor([row["input_ids"]])).logits[0]


def loss_of(model, rows):
    total, count = 0, 0
    for row in rows:
        labels = torch.tensor(row["labels"])[1:]
        total = total + torch.nn.functional.cross_entropy(row_logits(model, row)[:-1], labels, ignore_index=-100, reduction="sum")
        count += int((labels != -100).sum())
    return total / count


def answers(model, name, folder, params, penalty=None):
    rows = json.loads((GOLDEN / "models" / name / "golden.json").read_text())["rows"]
    versions = {"torch": torch.__version__, "transformers": transformers.__version__, "adapters": adapters.__version__}
    golden = {"versions": versions, "parameters": sum(p.numel() for p in params.values())}
    tensors = {"logits.0": row_logits(model, rows[0]).detach().contiguous()}
    if params:
        loss = loss_of(model, rows)
        loss.backward()
        golden["loss"] = loss.item()
        tensors |= {"grad." + k: p.grad.clone() for k, p in params.items()}
        optimizer = torch.optim.AdamW(params.values(), lr=LEARNING_RATE, weight_decay=0.0)
        golden |= {"learning_rate": LEARNING_RATE, "step_losses": []}
        for step in range(3):
            optimizer.zero_grad()
            loss = loss_of(model, rows)
            if penalty:
                golden.setdefault("penalty", penalty().item())
                loss = loss + penalty()
            loss.backward()
            golden["step_losses"].append(loss.item())
            optimizer.step()
        tensors |= {"step." + k: p.detach() for k, p in params.items()}
    save_file(tensors, str(folder / "golden.safetensors"), metadata={"format": "pt"})
    (folder / "golden.json").write_text(json.dumps(golden, indent=1) + "\n")


def make_fusion(name, case, config, fusion):
    folder = new_folder("fusions", f"{name}-{case}")
    model = load(name)
    for adapter in ("field", "law"):
        model.add_adapter(adapter, config=config)
        randomise(model, name + case + adapter, lambda k: f".{adapter}." in k)
        model.save_adapter(str(folder / adapter), adapter, with_head=False, use_safetensors=True)
        anonymous(folder / adapter / "adapter_config.json", name)
    setup = Fuse("field", "law")
    model.add_adapter_fusion(setup, fusion)
    model.train_adapter_fusion(setup)
    model.eval()
    params = randomise(model, name + case, lambda k: "adapter_fusion_layer" in k)
    model.save_adapter_fusion(str(folder), setup, use_safetensors=True, with_head=False)
    anonymous(folder / "adapter_fusion_config.json", name)
    penalty = model.get_fusion_regularization_loss
    answers(model, name, folder, params, None if penalty() is None else penalty)


def make_stack(name):
    folder = new_folder("stacks", name)
    model = load(name)
    for adapter in ("field", "law"):
        model.add_adapter(adapter, config=adapters.SeqBnConfig(reduction_factor=8))
        randomise(model, name + adapter, lambda k: f".{adapter}." in k)
        model.save_adapter(str(folder / adapter), adapter, with_head=False, use_safetensors=True)
        anonymous(folder / adapter / "adapter_config.json", name)
    model.active_adapters = Stack("field", "law")
    model.eval()
    answers(model, name, folder, {})


def make(name, case, config):
    folder = new_folder("bottlenecks", f"{name}-{case}")
    model = load(name)
    model.add_adapter("field", config=config)
    model.train_adapter("field")
    model.eval()
    params = randomise(model, name + case, lambda k: ".field." in k)
    model.save_adapter(str(folder), "field", with_head=False, use_safetensors=case != "parallel")
    anonymous(folder / "adapter_config.json", name)
    answers(model, name, folder, params)


def main():
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    for name in ("llama", "qwen2", "gpt2"):
        for case, config in CASES.items():
            if name == "llama" or case != "gelu-leave-out":
                make(name, case, config)
        make_stack(name)
        make_fusion(name, "pfeiffer", adapters.SeqBnConfig(reduction_factor=8), "dynamic")
    make_fusion("qwen2", "houlsby", adapters.DoubleSeqBnConfig(reduction_factor=8), "static")
    late = adapters.DynamicAdapterFusionConfig(query_before_ln=True, value_before_softmax=False, residual_before=True)
    make_fusion("llama", "late-values", adapters.SeqBnConfig(reduction_factor=8), late)


if __name__ == "__main__":
    main()
