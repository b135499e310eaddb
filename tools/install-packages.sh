#!/usr/bin/env bash
# Installs the Debian 12 packages that Fettle builds with; with --test also those of the tests.
# Says what it installs; does nothing, and needs no rights, when all are there. Exit code 4: cannot install.
set -euo pipefail

packages=(g++ cmake ninja-build pkg-config libdnnl-dev nlohmann-json3-dev libyaml-cpp-dev libcli11-dev libfmt-dev
          libpcre2-dev libutf8proc-dev libcairo2-dev fonts-dejavu-core zlib1g-dev libsqlite3-dev libzstd-dev libxxhash-dev libeigen3-dev)
case "${1:-}" in
  "") ;;
  --test) packages+=(libgtest-dev libgmock-dev libbenchmark-dev clang-format clang-14 libclang-rt-14-dev libomp-14-dev) ;;
  *) echo "error: unknown option $1; known: --test" >&2; exit 2 ;;
esac

fail() { echo "error: $*" >&2; exit 4; }

command -v dpkg-query >/dev/null && command -v apt-get >/dev/null ||
  fail "this is not Debian or one of its relatives; install the equivalents of these packages yourself: ${packages[*]}"

missing=()
for package in "${packages[@]}"; do
  dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'install ok installed' || missing+=("$package")
done
[ ${#missing[@]} -eq 0 ] && exit 0

as_root=()
if [ "$(id -u)" -ne 0 ]; then
  command -v sudo >/dev/null ||
    fail "neither root nor sudo; have these packages installed by someone who is root:
  apt-get install --no-install-recommends ${missing[*]}"
  as_root=(sudo)
fi

echo "Installing ${#missing[@]} Debian packages${as_root:+ with sudo}: ${missing[*]}"
log=$(mktemp)
trap 'rm -f "$log"' EXIT
"${as_root[@]}" apt-get update -qq >"$log" 2>&1 ||
  { cat "$log" >&2; fail "apt-get update failed; is the network there?"; }
"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
  apt-get install -y -qq --no-install-recommends "${missing[@]}" >"$log" 2>&1 ||
  { cat "$log" >&2; fail "apt-get could not install the packages"; }
