#!/usr/bin/env bash
# The tests of tests/faults with every place tried instead of a sample; takes an hour or more.
#   tests/faults/all.sh [BUILD=build] [FILTER='*']
# The last result is in docs/reliability.md.
set -euo pipefail
cd "$(dirname "$0")/../.."
FETTLE_FAULTS=all exec "${1:-build}"/tests/test_faults --gtest_filter="${2:-*}"
