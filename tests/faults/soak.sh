#!/usr/bin/env bash
# Trains for a while, saving all the time, and looks whether memory, open files, threads or files in the folder grow.
#   tests/faults/soak.sh [MINUTES=1440] [BUILD=build]
# Prints the figures at a third and at the end; exit code 1 when the memory grew by more than 1 MB an hour (and 1 MB), or
# anything else grew. The last result is in docs/reliability.md.
set -uo pipefail
cd "$(dirname "$0")/../.."
seconds=$((${1:-1440} * 60)) build=${2:-build}
work=$(mktemp -d)
trap 'kill "$pid" 2>/dev/null; rm -rf "$work"' EXIT
"$build"/fettle -q train model_name_or_path=examples/quickstart/base dataset=counselling \
  dataset_dir=examples/quickstart/data template=chatml lora_rank=4 max_samples=40 cutoff_len=64 \
  per_device_train_batch_size=2 max_steps=100000000 logging_steps=1000 save_steps=50 save_total_limit=2 plot_loss=false \
  output_dir="$work/run" >"$work/out" 2>&1 &
pid=$!
figures() {  # kB resident, open files, threads, files in the folder
  echo "$(awk '/^VmRSS/ { print $2 }' "/proc/$pid/status") $(ls "/proc/$pid/fd" | wc -l) $(ls "/proc/$pid/task" | wc -l)" \
    "$(ls -A "$work/run" | grep -vcE '\.tmp$|^\.trash')"
}
sleep $((seconds / 3))
early=$(figures) || { cat "$work/out"; exit 1; }
sleep $((seconds - seconds / 3))
late=$(figures) || { cat "$work/out"; exit 1; }
steps=$(ls "$work/run" | sed -n 's/^checkpoint-//p' | sort -n | tail -1)
echo "$((seconds / 60)) min, $steps steps: kB, open files, threads, files: $early at a third, $late at the end"
read -r kb fds threads files <<<"$early"
read -r kb2 fds2 threads2 files2 <<<"$late"
[ "$fds2" -le "$fds" ] && [ "$threads2" -le "$threads" ] && [ "$files2" -le "$files" ] &&
  [ $((kb2 - kb)) -le $((1024 + 1024 * seconds / 3600)) ]
