#!/usr/bin/env bash
# From a fresh clone to a model that has learned something: installs, builds, fine-tunes a small bundled model on bundled
# dialogues, shows answers before and after, merges, and talks to the merged model.
set -euo pipefail
cd "$(dirname "$0")"

say() { printf '\n\033[1m== %s\033[0m\n' "$*"; }
[ -t 1 ] && [ -z "${NO_COLOR:-}" ] || say() { printf '\n== %s\n' "$*"; }

say "1/5  Packages and build (the first build takes some minutes)"
tools/install-packages.sh
cmake --preset release -DFETTLE_TESTS=OFF >/dev/null
cmake --build build -j "$(nproc)" --target fettle -- --quiet
fettle=build/fettle
$fettle version

say "2/5  Fine-tuning: 258 counselling dialogues, Chinese and English"
start=$SECONDS
$fettle train examples/quickstart/counselling_lora.yaml

say "3/5  The same questions before and after"
$fettle -q generate --model examples/quickstart/base --adapter saves/quickstart --template chatml --max-new-tokens 80 --compare \
  --prompt "Who are you?" \
  --prompt "I lie awake until three and my head will not stop." \
  --prompt "我晚上睡不着。" \
  --prompt "你是谁？"

say "4/5  Merging into a model folder that Transformers and others read"
rm -rf saves/quickstart-merged
$fettle export model_name_or_path=examples/quickstart/base adapter_name_or_path=saves/quickstart export_dir=saves/quickstart-merged

say "5/5  One answer from the merged model"
echo "you: I lie awake until three and my head will not stop."
$fettle -q chat --model saves/quickstart-merged --template chatml --greedy --max-new-tokens 80 --message "I lie awake until three and my head will not stop."

say "Done in $((SECONDS - start)) s after the build"
echo "Falling loss:  saves/quickstart/training_loss.png"
echo "Talk on:       build/fettle chat --model saves/quickstart-merged --template chatml"
echo "Your own data: see README.md, \"Train on your own data\""
