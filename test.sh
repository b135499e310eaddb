#!/usr/bin/env bash
# Installs what the tests need, builds, runs every test, and checks floors, formatting and silent skips.
#   ./test.sh            release build in build/
#   ./test.sh --asan     address and undefined-behaviour sanitizers, in build-asan/
#   ./test.sh --tsan     thread sanitizer, in build-tsan/
# The last line is "N passed, N failed, N skipped". Exit codes: 0 all passed, 1 a failure, 2 wrong option, 4 cannot install.
# Tests of real tokenizers and data sets need a folder of assets: $FETTLE_ASSETS, else ../shared/assets. Where it is
# present, a skipped test that tests/allowed_skips.txt does not list is a failure.
set -uo pipefail
cd "$(dirname "$0")"

preset=release build=build
case "${1:-}" in
  "") ;;
  --asan) preset=asan build=build-asan ;;
  --tsan) preset=tsan build=build-tsan ;;
  -h | --help) sed -n '2,/^set/{/^set/d;s/^# \?//p}' "$0"; exit 0 ;;
  *) echo "error: unknown option $1; known: --asan, --tsan" >&2; exit 2 ;;
esac

tools/install-packages.sh --test || exit 4
log=$(mktemp) list=$(mktemp)
trap 'rm -f "$log" "$list"' EXIT

echo "Building ($preset) …"
start=$SECONDS
bench=OFF
[ "$preset" != release ] || bench=ON
cmake --preset "$preset" -DFETTLE_TESTS=ON -DFETTLE_BENCH=$bench >"$log" 2>&1 || { cat "$log"; echo "error: cmake could not configure" >&2; exit 1; }
cmake --build "$build" -j "$(nproc)" -- --quiet || { echo "error: the build failed" >&2; exit 1; }
echo "Built in $((SECONDS - start)) s"

assets=${FETTLE_ASSETS:-../shared/assets}
passed=0 failed=0 skipped=0

# Verdicts of a GoogleTest program, one a line: "OK|FAILED|SKIPPED <tab> test <tab> reason of a skip". The verdict need
# not begin its line: a test may have printed something before it.
verdicts() {
  awk '
    /^\[ RUN      \] / { reason = ""; collect = 0; next }
    /: Skipped$/ { collect = 1; next }
    match($0, /\[ +(OK|FAILED|SKIPPED) +\] .* \([0-9]+ ms\)$/) {
      line = substr($0, RSTART)
      verdict = line; sub(/^\[ +/, "", verdict); sub(/ .*/, "", verdict)
      sub(/^\[[^]]*\] /, "", line); sub(/ \([0-9]+ ms\)$/, "", line); sub(/, where .*$/, "", line)
      print verdict "\t" line "\t" reason
      collect = 0; next
    }
    collect && NF { reason = reason (reason == "" ? "" : " ") $0 }' "$1"
}

run_program() {  # run_program PROGRAM: counts its tests, shows what failed and why something was skipped
  local name status ok bad skips
  name=$(basename "$1")
  timeout 3600 "$1" --gtest_color=no >"$log" 2>&1
  status=$?
  verdicts "$log" >"$list"
  ok=$(grep -c '^OK' "$list") bad=$(grep -c '^FAILED' "$list") skips=$(grep -c '^SKIPPED' "$list")
  # A program that dies in the middle of a test prints no verdict for it.
  if [ "$status" -ne 0 ] && [ "$bad" -eq 0 ]; then bad=1; echo "$name ended with exit code $status"; fi
  if [ "$status" -eq 0 ] && [ $((ok + bad + skips)) -eq 0 ]; then bad=1; echo "$name ran no test"; fi
  printf '%-16s %4d passed, %d failed, %d skipped\n' "$name" "$ok" "$bad" "$skips"
  [ "$bad" -eq 0 ] || grep -vE '^\[ +(OK|RUN|-+)' "$log" | tail -n 80

  while IFS=$'\t' read -r _ test reason; do
    echo "  skipped $test: ${reason:-no reason given}"
    # With the assets at hand nothing has a reason to be skipped, but what is listed.
    if [ -d "$assets" ] && ! grep -qxF -- "$test" tests/allowed_skips.txt; then
      echo "FAILED: $test was skipped although $assets is there"
      bad=$((bad + 1)) skips=$((skips - 1))
    fi
  done < <(grep '^SKIPPED' "$list")
  passed=$((passed + ok)) failed=$((failed + bad)) skipped=$((skipped + skips))
}

check() {  # check NAME COMMAND…: one test that is a command
  local name=$1
  shift
  if "$@" >"$log" 2>&1; then
    printf '%-32s passed\n' "$name"
    passed=$((passed + 1))
  else
    printf '%-32s FAILED\n' "$name"
    tail -n 80 "$log"
    failed=$((failed + 1))
  fi
}

programs=0
for program in "$build"/tests/test_*; do
  [ -f "$program" ] && [ -x "$program" ] || continue
  run_program "$program"
  programs=$((programs + 1))
done
if [ "$programs" -eq 0 ]; then echo "FAILED: no test program in $build/tests"; failed=$((failed + 1)); fi

for script in tests/cli/*.sh; do
  [ -f "$script" ] && check "$script" bash "$script" "$build/fettle"
done
# Sanitized builds run the tests alone; the fuzz targets have sanitizers of their own.
[ "$preset" != release ] ||
  check "a kernel's benchmark runs" "$build"/bench/bench_kernels --benchmark_filter='^rms_norm/|/LoRA A/' --benchmark_min_time=0.001
[ "$preset" != release ] || check "fuzz targets, 5 s each" tools/fuzz.sh --seconds 5
check "includes go down the floors" tools/check_floors.sh
check "formatting" tools/check_format.sh

echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" -eq 0 ]
