#!/usr/bin/env bash
# Installs the Debian 12 packages that Fettle builds with; with --test also those of the tests. Does nothing when all are there.
set -euo pipefail

packages=(g++ cmake ninja-build pkg-config libdnnl-dev nlohmann-json3-dev libyaml-cpp-dev libcli11-dev libfmt-dev
          libpcre2-dev libutf8proc-dev libcairo2-dev fonts-dejavu-core zlib1g-dev)
[ "${1:-}" = "--test" ] && packages+=(libgtest-dev libgmock-dev clang-format git)

missing=()
for package in "${packages[@]}"; do
  dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'install ok installed' || missing+=("$package")
done
[ ${#missing[@]} -eq 0 ] && exit 0

echo "Installing ${#missing[@]} Debian packages: ${missing[*]}"
run=()
if [ "$(id -u)" -ne 0 ]; then
  command -v sudo >/dev/null || { echo "error: not root and no sudo; install these packages yourself: ${missing[*]}" >&2; exit 4; }
  run=(sudo)
fi
export DEBIAN_FRONTEND=noninteractive
"${run[@]}" apt-get update -qq
"${run[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
