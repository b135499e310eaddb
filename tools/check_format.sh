#!/usr/bin/env bash
# All C++ sources are formatted by .clang-format. With --fix they are rewritten.
set -euo pipefail
cd "$(dirname "$0")/.."
# Other releases of clang-format break lines differently; 14 is Debian 12's.
format=$(command -v clang-format-14 || command -v clang-format) ||
  { echo "error: no clang-format; run tools/install-packages.sh --test" >&2; exit 4; }
mode=(--dry-run -Werror)
[ "${1:-}" = "--fix" ] && mode=(-i)
find src tests bench fuzz \( -name '*.h' -o -name '*.cpp' -o -name '*.inc' \) -print0 | xargs -0 "$format" "${mode[@]}"
