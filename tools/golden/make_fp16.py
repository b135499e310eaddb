"""The loss scale of fp16 runs: tests/golden/train/fp16.json.

    python tools/golden/make_fp16.py

scaler: torch.amp.GradScaler over a sequence of steps with and without an infinite gradient.
plain: the rows, the adapter and the arguments of train/lora-llama trained by Transformers' own Trainer under float16
autocast. accelerate turns fp16 off without a GPU, so its scaler and autocast are put in by hand, for the CPU; the loop,
the clipping, the skipping and the schedule are its own.
overflowing: the same with a scale that begins so high that the first steps overflow. Where that ends is not ours to
meet: autocast keeps the gradients of weights in float16 as well.
"""

import json
import warnings

import golden_io as io
import make_training
import torch
import transformers


def scaler_case():
    finite = [True, False, True, True, True, True, False, False, True, True, True, False, True, True, True]
    weight = torch.nn.Parameter(torch.ones(3))
    optimizer = torch.optim.SGD([weight], lr=0.0)
    scaler = torch.amp.GradScaler("cpu", init_scale=65536.0, growth_interval=3)
    steps = []
    for good in finite:
        weight.grad = torch.full((3,), 1.0 if good else float("inf"))
        taken = []
        hook = optimizer.register_step_post_hook(lambda *_: taken.append(True))
        scaler.scale(torch.zeros(()))  # makes the scale
        scaler.step(optimizer)
        scaler.update()
        hook.remove()
        steps.append([good, not taken, scaler.get_scale()])
    # It stops growing where f32 ends.
    top = torch.amp.GradScaler("cpu", init_scale=2.0**127, growth_interval=1)
    weight.grad = torch.ones(3)
    top.scale(torch.zeros(()))
    top.step(optimizer)
    top.update()
    return {"growth_interval": 3, "finite, skipped, scale": steps, "top": [2.0**127, top.get_scale()]}

class HalfTrainer(make_training.StepTrainer):
    scale = dict(init_scale=65536.0)

    def create_accelerator_and_postprocess(self):
        super().create_accelerator_and_postprocess()
        self.accelerator.state._mixed_precision = "fp16"
        self.accelerator.native_amp = True
        self.accelerator.scaler = torch.amp.GradScaler("cpu", **self.scale)

    def log(self, logs, *args, **kwargs):
        super().log(logs, *args, **kwargs)
        if "grad_norm" in logs:
            self.steps[-1]["skipped"] = self.accelerator.optimizer_step_was_skipped
            self.steps[-1]["scale"] = self.accelerator.scaler.get_scale()
            if self.steps[-1]["skipped"]:
                self.steps[-1]["grad_norm"] = None

def run_case(**scale):
    folder = make_training.TRAIN / "lora-llama"
    rows = [json.loads(line) for line in (folder / "rows.jsonl").open()]
    model = make_training.prepare("llama", "lora", folder)
    make_training.StepTrainer = HalfTrainer
    HalfTrainer.scale = scale
    trainer, _ = make_training.train(model, rows, {**make_training.COMMON, "fp16": True})
    columns = ("loss", "grad_norm", "learning_rate", "skipped", "scale")
    return {**scale, **{c: [step[c] for step in trainer.steps] for c in columns}}

if __name__ == "__main__":
    io.setup()
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    warnings.simplefilter("ignore")
    import accelerate

    versions = {**io.versions(), "accelerate": accelerate.__version__}
    plain = run_case(init_scale=65536.0)
    overflowing = run_case(init_scale=2.0**30, growth_interval=4)
    assert not any(plain["skipped"]) and overflowing["skipped"][0] and not overflowing["skipped"][-1]
    cases = {"scaler": scaler_case(), "plain": plain, "overflowing": overflowing}
    io.save_json(make_training.TRAIN / "fp16.json", {**cases, "versions": versions})
    print(versions)
