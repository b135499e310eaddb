"""Short training runs by Transformers' own Trainer, step by step.

    python tools/golden/make_training.py [name …]

Writes tests/golden/train/<name>/:
  rows.jsonl           the data, {"input_ids", "labels"} a line, used in file order in every epoch
  dataset_info.json    registers it as "rows"
  initial_adapter/     LoRA runs: what training starts from (full runs start from the model itself)
  final_adapter/       LoRA runs: what it ends with, as PEFT saves it
  final.safetensors    full runs: every parameter at the end
  train.json           the arguments and, for each optimizer step, loss, grad_norm (before clipping), learning_rate

The row count is odd on purpose: the last step of an epoch accumulates fewer rows than the others, so the loss must be
divided by the number of label tokens really present. Some rows train their very first token, which has no
prediction: Trainer counts labels after the causal shift. `unpadded_distance` says how far the same run without any
padding (batches of one row, twice the accumulation: the same mathematics) ends from this one: what rounding alone does.
"""

import json
import shutil
import sys
import tempfile
import warnings

import golden_io as io
import make_models
import torch
import transformers
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file
from torch.utils.data import SequentialSampler
from transformers import Trainer, TrainingArguments

TRAIN = io.GOLDEN / "train"

COMMON = dict(
    per_device_train_batch_size=2,
    gradient_accumulation_steps=2,
    num_train_epochs=2,
    learning_rate=1e-3,
    lr_scheduler_type="linear",
    warmup_steps=3,
    weight_decay=0.01,
    max_grad_norm=1.0,
    adam_beta1=0.9,
    adam_beta2=0.999,
    adam_epsilon=1e-8,
    logging_steps=1,
    seed=42,
)

# name: (model fixture, finetuning type, number of rows, initial adapter, changed arguments)
CASES = {
    "lora-llama": ("llama", "lora", 37, "fresh", {}),
    "lora-qwen2": ("qwen2", "lora", 37, "existing", dict(lr_scheduler_type="cosine", warmup_steps=0)),
    "full-qwen3": ("qwen3", "full", 18, None, dict(weight_decay=0.1)),
    "full-mistral": ("mistral", "full", 18, None, {}),
}


class Rows(torch.utils.data.Dataset):
    def __init__(self, rows):
        self.rows = rows

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, i):
        return self.rows[i]


def collate(rows):
    """Right padding that no loss and no attention sees."""
    longest = max(len(r["input_ids"]) for r in rows)

    def pad(key, value):
        return torch.tensor([r[key] + [value] * (longest - len(r[key])) for r in rows])

    mask = [[1] * len(r["input_ids"]) + [0] * (longest - len(r["input_ids"])) for r in rows]
    return {"input_ids": pad("input_ids", 0), "labels": pad("labels", -100), "attention_mask": torch.tensor(mask)}


class StepTrainer(Trainer):
    """Keeps what the log rounds: the loss of each optimizer step. Data in file order."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.micro_losses, self.steps = [], []

    def _get_train_sampler(self, *args, **kwargs):
        return SequentialSampler(self.train_dataset)

    def training_step(self, *args, **kwargs):
        loss = super().training_step(*args, **kwargs)
        self.micro_losses.append(loss.item())
        return loss

    def log(self, logs, *args, **kwargs):
        if "grad_norm" in logs:
            self.steps.append(
                {
                    "loss": sum(self.micro_losses),
                    "grad_norm": float(logs["grad_norm"]),
                    "learning_rate": logs["learning_rate"],
                    "epoch": self.state.epoch,
                }
            )
            self.micro_losses = []
        super().log(logs, *args, **kwargs)


def make_rows(name, count, vocab):
    """Rows of 2 to 24 tokens with a pattern that can be learned: token k is followed by 5 k + 3, now and then."""
    g = io.generator("train", name)

    def draw(low, high):
        return int(torch.randint(low, high, (1,), generator=g))

    rows = []
    for i in range(count):
        n = draw(2, 25)
        ids = [draw(0, vocab)]
        while len(ids) < n:
            ids.append((5 * ids[-1] + 3) % vocab if draw(0, 10) < 7 else draw(0, vocab))
        start = 0 if i % 4 == 0 else draw(1, n)
        labels = [-100] * start + ids[start:]
        if i % 5 == 2 and n > 8:  # a second turn: masked in the middle
            labels[n // 2 : n // 2 + 3] = [-100] * 3
            labels[-1] = ids[-1]
        rows.append({"input_ids": ids, "labels": labels})
    return rows


def write_adapter(tuned, name, folder):
    tuned.peft_config["default"].base_model_name_or_path = name
    tuned.save_pretrained(folder)
    (folder / "README.md").unlink(missing_ok=True)
    path = folder / "adapter_config.json"
    config = json.loads(path.read_text())
    config["target_modules"].sort()
    path.write_text(json.dumps(config, indent=2, sort_keys=True))


def initial_adapter(model_name, how, folder):
    if how == "existing":
        shutil.copytree(make_models.MODELS / model_name / "adapter", folder)
        return
    base = make_models.load(make_models.MODELS / model_name)
    config = LoraConfig(
        task_type="CAUSAL_LM", r=4, lora_alpha=8, lora_dropout=0.0, target_modules=list(make_models.LINEARS)
    )
    tuned = get_peft_model(base, config)
    g = io.generator("initial adapter", model_name)
    with torch.no_grad():
        for key, p in tuned.named_parameters():
            if "lora_A" in key:
                p.copy_((torch.rand(p.shape, generator=g) * 2 - 1) / p.shape[1] ** 0.5)
    write_adapter(tuned, model_name, folder)


def prepare(model_name, kind, folder):
    model = make_models.load(make_models.MODELS / model_name)
    if kind == "lora":
        model = PeftModel.from_pretrained(model, folder / "initial_adapter", is_trainable=True)
    return model


def train(model, rows, arguments):
    with tempfile.TemporaryDirectory() as scratch:
        args = TrainingArguments(
            output_dir=scratch,
            optim="adamw_torch",
            report_to=[],
            save_strategy="no",
            disable_tqdm=True,
            use_cpu=True,
            remove_unused_columns=False,
            **arguments,
        )
        trainer = StepTrainer(model=model, args=args, train_dataset=Rows(rows), data_collator=collate)
        result = trainer.train()
    return trainer, result.training_loss


def trainable(model):
    return {n: p.detach().clone() for n, p in model.named_parameters() if p.requires_grad}


def make_case(name):
    model_name, kind, count, adapter, changes = CASES[name]
    folder = TRAIN / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    arguments = {**COMMON, **changes}
    rows = make_rows(name, count, make_models.SMALL["vocab_size"])
    (folder / "rows.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    io.save_json(folder / "dataset_info.json", {"rows": {"file_name": "rows.jsonl"}})
    if kind == "lora":
        initial_adapter(model_name, adapter, folder / "initial_adapter")

    model = prepare(model_name, kind, folder)
    start = trainable(model)
    trainer, train_loss = train(model, rows, arguments)
    end = trainable(model)
    other_model = prepare(model_name, kind, folder)
    unpadded = dict(per_device_train_batch_size=1, gradient_accumulation_steps=4)
    other_trainer, _ = train(other_model, rows, {**arguments, **unpadded})
    other = trainable(other_model)

    if kind == "lora":
        write_adapter(model, model_name, folder / "final_adapter")
        check = load_file(folder / "final_adapter" / "adapter_model.safetensors")
        assert set(check) == {n.replace(".default.", ".") for n in end}
    else:
        io.save_tensors(folder / "final.safetensors", end)
    distance = max((end[n] - other[n]).abs().max().item() for n in end)
    moved = max((end[n] - start[n]).abs().max().item() for n in end)
    loss_distance = max(abs(a["loss"] - b["loss"]) for a, b in zip(trainer.steps, other_trainer.steps))
    io.save_json(
        folder / "train.json",
        {
            "model": model_name,
            "finetuning_type": kind,
            "arguments": arguments,
            "steps": trainer.steps,
            "train_loss": train_loss,
            "largest_change": moved,
            "unpadded_distance": {"weights": distance, "loss": loss_distance},
            "versions": io.versions(),
        },
    )
    for file in folder.rglob("*.*"):
        if file.is_file():
            file.chmod(0o644)
    norms = [s["grad_norm"] for s in trainer.steps]
    print(
        f"{name:13} {len(trainer.steps)} steps, loss {trainer.steps[0]['loss']:.4f} -> {trainer.steps[-1]['loss']:.4f}, "
        f"grad norm {min(norms):.2f}..{max(norms):.2f}, moved {moved:.4f}, unpadded distance {distance:.1e} / {loss_distance:.1e}"
    )


if __name__ == "__main__":
    io.setup()
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    warnings.simplefilter("ignore")
    for case in sys.argv[1:] or CASES:
        make_case(case)
