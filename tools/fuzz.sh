#!/usr/bin/env bash
# Builds the fuzz targets with clang and runs them.
#   tools/fuzz.sh [--seconds N] [TARGET ...]      N seconds a target (default 60); all targets when none is named
# New inputs are kept in .cache/fuzz/TARGET between runs; a finding leaves its input there as crash-…, timeout-… or oom-….
# Exit codes: 0 nothing found, 1 a finding, 4 no clang.
set -uo pipefail
cd "$(dirname "$0")/.."
seconds=60
if [ "${1:-}" = --seconds ]; then
  seconds=$2
  shift 2
fi
command -v clang++-14 >/dev/null || { echo "error: clang++-14 is missing: tools/install-packages.sh --test" >&2; exit 4; }
log=$(mktemp)
trap 'rm -f "$log"' EXIT
cmake --preset fuzz >"$log" 2>&1 || { cat "$log"; exit 1; }
cmake --build build-fuzz -j "$(nproc)" --target fuzz >"$log" 2>&1 || { grep -E "error" -A5 "$log"; exit 1; }
targets=("$@")
[ ${#targets[@]} -gt 0 ] || for source in fuzz/*_fuzz.cpp; do targets+=("$(basename "${source%_fuzz.cpp}")"); done
bad=0
for target in "${targets[@]}"; do
  found=.cache/fuzz/$target
  mkdir -p "$found"
  build-fuzz/fuzz/"${target}_fuzz" "$found" "fuzz/corpus/$target" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 \
    -max_len=65536 -artifact_prefix="$found/" -print_final_stats=1 -verbosity=0 >"$log" 2>&1
  status=$?
  runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
  if [ "$status" -ne 0 ]; then
    bad=$((bad + 1))
    echo "FAILED: $target"
    grep -vE "^stat::|^INFO" "$log" | tail -n 40
  else
    printf '%-16s %9s runs in %d s, nothing found\n' "$target" "$runs" "$seconds"
  fi
done
[ "$bad" -eq 0 ]
