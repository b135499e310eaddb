"""Losses and schedules of the trainer, by their reference implementations: tests/golden/train/losses.json.

    python tools/golden/make_losses.py

smoothing: transformers' LabelSmoother; dft: loss * exp(-loss) without gradient through the factor, as LLaMA-Factory's
dft_loss_func; plateau: torch's ReduceLROnPlateau over a course of metrics.
"""

import json
import pathlib
from types import SimpleNamespace

import torch
import transformers
from transformers.trainer_pt_utils import LabelSmoother

PATH = pathlib.Path(__file__).resolve().parents[2] / "tests" / "golden" / "train" / "losses.json"


def case(logits, labels, loss):
    logits = logits.clone().requires_grad_()
    value = loss(logits, labels)
    value.backward()
    return {"loss": value.item(), "gradient": logits.grad.flatten().tolist()}


def smoothing(epsilon):
    def loss(logits, labels):
        output = SimpleNamespace(logits=logits[None])
        return LabelSmoother(epsilon=epsilon)({"logits": output.logits}, labels[None].clone())

    return loss


def dft(logits, labels):
    losses = torch.nn.functional.cross_entropy(logits, labels, ignore_index=-100, reduction="none")
    losses = (losses * torch.exp(-losses.detach()))[labels != -100]
    return losses.mean()


def plateau(metrics, **keys):
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([parameter], lr=1.0)
    schedule = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, **keys)
    rates = []
    for metric in metrics:
        schedule.step(metric)
        rates.append(optimizer.param_groups[0]["lr"])
    return {"options": keys, "metrics": metrics, "rates": rates}


def main():
    g = torch.Generator().manual_seed(5)
    logits = torch.randn((6, 11), generator=g) * 2
    labels = torch.tensor([3, 0, -100, 10, 7, -100])
    course = [5.0, 4.0, 4.0, 4.1, 3.9999, 4.2, 4.3, 3.5, 3.6, 3.7, 3.8, 3.9, 4.0, 4.1, 4.2, 4.3]
    golden = {
        "versions": {"torch": torch.__version__, "transformers": transformers.__version__},
        "logits": logits.flatten().tolist(),
        "labels": labels.tolist(),
        "smoothing": {str(e): case(logits, labels, smoothing(e)) for e in (0.1, 0.4)},
        "dft": case(logits, labels, dft),
        "plateau": [
            plateau(course, patience=2),
            plateau(course, factor=0.5, patience=1, cooldown=2, min_lr=0.2),
            plateau([-x for x in course], mode="max", patience=0, factor=0.3, threshold=0.2, threshold_mode="abs"),
        ],
    }
    PATH.write_text(json.dumps(golden, indent=1) + "\n")


if __name__ == "__main__":
    main()
