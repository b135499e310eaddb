#!/usr/bin/env bash
# Installs what the tests need, builds, runs every test, and checks floors and formatting.
#   ./test.sh            release build in build/
#   ./test.sh --asan     address and undefined-behaviour sanitizers, in build-asan/
#   ./test.sh --tsan     thread sanitizer, in build-tsan/
set -uo pipefail
cd "$(dirname "$0")"

preset=release build=build
case "${1:-}" in
  "") ;;
  --asan) preset=asan build=build-asan ;;
  --tsan) preset=tsan build=build-tsan ;;
  *) echo "error: unknown option $1; known: --asan, --tsan" >&2; exit 2 ;;
esac

tools/install-packages.sh --test || exit 4
echo "Building ($preset) …"
start=$SECONDS
cmake --preset "$preset" -DFETTLE_TESTS=ON >"/tmp/fettle-configure.$$" 2>&1 || { cat "/tmp/fettle-configure.$$"; exit 1; }
rm -f "/tmp/fettle-configure.$$"
cmake --build "$build" -j "$(nproc)" -- --quiet || { echo "error: the build failed" >&2; exit 1; }
echo "Built in $((SECONDS - start)) s"

assets=${FETTLE_ASSETS:-../shared/assets}
passed=0 failed=0 skipped=0
check() {  # check NAME COMMAND…: one test that is a program
  local name=$1; shift
  if "$@"; then passed=$((passed + 1)); else failed=$((failed + 1)); echo "FAILED: $name"; fi
}

log=$(mktemp)
trap 'rm -f "$log"' EXIT
for program in "$build"/tests/test_*; do
  [ -x "$program" ] && [ -f "$program" ] || continue
  name=$(basename "$program")
  "$program" --gtest_brief=0 >"$log" 2>&1
  status=$?
  ok=$(grep -c '^\[       OK \]' "$log") bad=$(grep -c '^\[  FAILED  \].*ms)$' "$log") skips=$(grep -c '^\[  SKIPPED \].*ms)$' "$log")
  # A program that dies in the middle of a test prints no verdict for it.
  if [ "$status" -ne 0 ] && [ "$bad" -eq 0 ]; then bad=1; fi
  printf '%-16s %4d passed, %d failed, %d skipped\n' "$name" "$ok" "$bad" "$skips"
  [ "$bad" -eq 0 ] || grep -vE '^\[ +(OK|RUN|-+)' "$log" | tail -n 80
  if [ "$skips" -gt 0 ]; then
    grep -A3 '^\[ RUN' "$log" | grep -iE 'skip' | sort | uniq -c
    # With the assets at hand nothing has a reason to be skipped, but what is listed.
    if [ -d "$assets" ]; then
      while read -r test; do
        grep -qxF "$test" tests/allowed_skips.txt 2>/dev/null && continue
        echo "FAILED: $test was skipped although $assets is there"
        bad=$((bad + 1))
      done < <(sed -n 's/^\[  SKIPPED \] \(.*\) (.*ms)$/\1/p' "$log")
    fi
  fi
  passed=$((passed + ok)) failed=$((failed + bad)) skipped=$((skipped + skips))
done

for script in tests/cli/*.sh; do
  [ -f "$script" ] && check "$script" bash "$script" "$build/fettle"
done
check "includes go down the floors" tools/check_floors.sh
check "formatting" tools/check_format.sh

echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
