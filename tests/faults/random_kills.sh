#!/usr/bin/env bash
# Kills a training run by SIGKILL at random moments, resumes it each time, and compares the weights at the end with those
# of a run that was never broken.
#   tests/faults/random_kills.sh [KILLS=200] [BUILD=build]
# Prints one line at the end; exit code 1 when anything differs. The last result is in docs/reliability.md.
set -uo pipefail
cd "$(dirname "$0")/../.."
kills=${1:-200} build=${2:-build}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

words=(-q train model_name_or_path=examples/quickstart/base dataset=counselling dataset_dir=examples/quickstart/data
  template=chatml finetuning_type=lora lora_rank=4 lora_dropout=0.1 max_samples=40 cutoff_len=64
  per_device_train_batch_size=2 num_train_epochs=6 learning_rate=0.005 logging_steps=1 save_steps=3 save_total_limit=2
  threads=1)

start=$(date +%s%N)
"$build"/fettle "${words[@]}" output_dir="$work/whole" >"$work/whole.out" 2>&1 || { cat "$work/whole.out"; exit 1; }
length=$((($(date +%s%N) - start) / 1000000))
expected=$(sha256sum <"$work/whole/adapter_model.safetensors")

done_kills=0 runs=0 wrong=0
while [ "$done_kills" -lt "$kills" ]; do
  rm -rf "$work/broken"
  resume=()
  while :; do
    # Some moments lie in loading, most in training and saving.
    delay=$(awk -v ms="$length" -v seed="$RANDOM$done_kills" 'BEGIN { srand(seed); printf "%.3f", (0.02 + rand() * 0.9) * ms / 1000 }')
    "$build"/fettle "${words[@]}" output_dir="$work/broken" "${resume[@]}" >"$work/broken.out" 2>&1 &
    pid=$!
    if [ "$done_kills" -lt "$kills" ]; then
      sleep "$delay"
      if kill -KILL "$pid" 2>/dev/null; then done_kills=$((done_kills + 1)); fi
    fi
    wait "$pid" 2>/dev/null
    status=$?
    [ "$status" -eq 0 ] && break
    if [ "$status" -ne 137 ]; then
      # Killed before the first checkpoint there is nothing to resume, which is said, and the run begins anew.
      grep -q "no valid checkpoint" "$work/broken.out" || { cat "$work/broken.out"; exit 1; }
      rm -rf "$work/broken"
      resume=()
      continue
    fi
    resume=(resume_from_checkpoint=true)
  done
  runs=$((runs + 1))
  [ "$(sha256sum <"$work/broken/adapter_model.safetensors")" = "$expected" ] || wrong=$((wrong + 1))
done
echo "$done_kills kills in $runs runs of $length ms: $wrong runs with other weights"
[ "$wrong" -eq 0 ]
