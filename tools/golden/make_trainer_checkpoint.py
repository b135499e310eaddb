"""A checkpoint of transformers.Trainer: tests/golden/train/trainer-checkpoint, LoRA on the llama of make_models.py after two of four steps.

    python tools/golden/make_trainer_checkpoint.py

Optimizer, scheduler and random state (pickles) are left out: nothing reads them. golden.json has the loss of the rows at that point.
"""

import json
import pathlib
import shutil
import tempfile

import torch
import transformers
from peft import LoraConfig, PeftModel, get_peft_model

GOLDEN = pathlib.Path(__file__).resolve().parents[2] / "tests" / "golden"
OUT = GOLDEN / "train" / "trainer-checkpoint"
KEPT = ["adapter_config.json", "adapter_model.safetensors", "trainer_state.json"]


class Rows(torch.utils.data.Dataset):
    rows = [[5 + (7 * i + 3 * t) % 120 for t in range(9)] for i in range(8)]

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, i):
        ids = torch.tensor(self.rows[i])
        return {"input_ids": ids, "labels": ids.clone()}


def main():
    torch.manual_seed(3)
    model = transformers.AutoModelForCausalLM.from_pretrained(GOLDEN / "models" / "llama", dtype=torch.float32)
    tuned = get_peft_model(model, LoraConfig(r=2, lora_alpha=4, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM"))
    with tempfile.TemporaryDirectory() as folder:
        arguments = transformers.TrainingArguments(
            folder, max_steps=4, save_steps=2, logging_steps=1, learning_rate=0.01, per_device_train_batch_size=2, use_cpu=True, report_to=[]
        )
        transformers.Trainer(model=tuned, args=arguments, train_dataset=Rows()).train()
        shutil.rmtree(OUT, ignore_errors=True)
        OUT.mkdir(parents=True)
        for name in KEPT:
            shutil.copy(pathlib.Path(folder) / "checkpoint-2" / name, OUT / name)
    config = json.loads((OUT / "adapter_config.json").read_text())
    config["base_model_name_or_path"] = "llama"
    config["target_modules"] = sorted(config["target_modules"])
    (OUT / "adapter_config.json").write_text(json.dumps(config, indent=2, sort_keys=True))
    base = transformers.AutoModelForCausalLM.from_pretrained(GOLDEN / "models" / "llama", dtype=torch.float32)
    with torch.no_grad():
        loss = PeftModel.from_pretrained(base, OUT).eval()(
            input_ids=torch.tensor(Rows.rows), labels=torch.tensor(Rows.rows)
        ).loss.item()
    golden = {"versions": {"torch": torch.__version__, "transformers": transformers.__version__}, "rows": Rows.rows, "loss": loss}
    (OUT / "golden.json").write_text(json.dumps(golden) + "\n")
    print(loss)


if __name__ == "__main__":
    main()
