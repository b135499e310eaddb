"""Small helpers shared by the fixture makers: reproducible torch, compact JSON, safetensors with sorted names."""

import hashlib
import json
import os
import pathlib

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import torch
from safetensors.torch import save_file

GOLDEN = pathlib.Path(__file__).resolve().parents[2] / "tests" / "golden"


def setup():
    """One thread and deterministic algorithms: the fixtures come out the same on every run of one machine."""
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)


def generator(*key):
    """A random generator seeded by the text of `key`, so that adding a fixture does not change the others."""
    digest = hashlib.sha256("/".join(map(str, key)).encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:6], "little"))


def versions():
    import peft
    import safetensors
    import transformers

    return {
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "peft": peft.__version__,
        "safetensors": safetensors.__version__,
    }


def save_tensors(path, tensors):
    """Writes contiguous copies; shared storage would make safetensors refuse."""
    path.parent.mkdir(parents=True, exist_ok=True)
    plain = {k: tensors[k].detach().clone().contiguous() for k in sorted(tensors)}
    save_file(plain, str(path), metadata={"format": "pt"})


def save_json(path, value):
    """JSON with one key a line but number lists kept on one line, so that diffs stay readable."""
    path.parent.mkdir(parents=True, exist_ok=True)

    def render(v, indent):
        pad = " " * (indent + 1)
        if isinstance(v, dict) and v:
            items = [f"{pad}{json.dumps(k)}: {render(x, indent + 1)}" for k, x in v.items()]
            return "{\n" + ",\n".join(items) + "\n" + " " * indent + "}"
        if isinstance(v, list) and any(isinstance(x, (dict, list)) for x in v):
            return "[\n" + ",\n".join(pad + render(x, indent + 1) for x in v) + "\n" + " " * indent + "]"
        return json.dumps(v, ensure_ascii=False)

    path.write_text(render(value, 0) + "\n", encoding="utf-8")
