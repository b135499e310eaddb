#!/usr/bin/env bash
# Every #include "fettle/…" must lead to the same folder or a lower floor (the table in ARCHITECTURE.md).
set -euo pipefail
cd "$(dirname "$0")/.."
find src/fettle -name '*.h' -o -name '*.cpp' -o -name '*.inc' | sort | xargs awk '
BEGIN {
  split("tensor:0 base:0 kernels:1 autograd:2 text:3 formats:3 nn:4 models:5 peft:6 data:7 infer:8 track:9 train:10 board:11 serve:11 app:12", pairs, " ")
  for (i in pairs) { split(pairs[i], p, ":"); floor[p[1]] = p[2] }
  # Within a floor these lean on each other in one direction only.
  allowed["tensor>base"] = 1; allowed["text>formats"] = 1; allowed["serve>board"] = 1
}
FNR == 1 { split(FILENAME, path, "/"); own = path[3] }
match($0, /^#include "fettle\/[a-z_]+\//) {
  other = substr($0, 18, RLENGTH - 18)
  if (!(other in floor) || !(own in floor)) { print FILENAME ":" FNR ": folder " other " has no floor"; bad = 1 }
  else if (other != own && floor[other] >= floor[own] && !((own ">" other) in allowed)) {
    print FILENAME ":" FNR ": " own " (floor " floor[own] ") includes " other " (floor " floor[other] ")"; bad = 1
  }
}
END { exit bad }'
