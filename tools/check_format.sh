#!/usr/bin/env bash
# All C++ sources are formatted by .clang-format. With --fix they are rewritten.
set -euo pipefail
cd "$(dirname "$0")/.."
mode=(--dry-run -Werror)
[ "${1:-}" = "--fix" ] && mode=(-i)
git ls-files '*.h' '*.cpp' '*.inc' | xargs clang-format "${mode[@]}"
