"""Optuna chooses, Fettle trains: poor trials are pruned while they run.

    pip install optuna
    python examples/optuna_sweep.py [--fettle build/fettle] [--sweep examples/sweep.yaml] [--trials 9]

`fettle sweep --serve` takes a JSON line for each piece of work and answers with the value that it measured.
"""

import argparse
import json
import subprocess

import optuna


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--fettle", default="build/fettle")
    p.add_argument("--sweep", default="examples/sweep.yaml")
    p.add_argument("--trials", type=int, default=9)
    a = p.parse_args()
    worker = subprocess.Popen([a.fettle, "sweep", a.sweep, "--serve"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def run(trial, parameters, steps=None):
        request = {"trial": trial.number, "parameters": parameters} | ({"steps": steps} if steps else {})
        worker.stdin.write(json.dumps({"run": request}) + "\n")
        worker.stdin.flush()
        answer = json.loads(worker.stdout.readline())
        if "value" not in answer:
            raise RuntimeError(answer)
        return answer["value"]

    def objective(trial):
        parameters = {
            "learning_rate": trial.suggest_float("learning_rate", 3e-4, 1e-2, log=True),
            "lora_rank": trial.suggest_categorical("lora_rank", [4, 8, 16]),
        }
        for steps in (10, 20):
            trial.report(run(trial, parameters, steps), steps)
            if trial.should_prune():
                raise optuna.TrialPruned()
        return run(trial, parameters)

    study = optuna.create_study(direction="minimize", pruner=optuna.pruners.MedianPruner(n_startup_trials=3))
    study.optimize(objective, n_trials=a.trials)
    print("best", study.best_value, study.best_params)
    worker.stdin.close()
    worker.wait()


if __name__ == "__main__":
    main()
