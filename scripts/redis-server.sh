#!/usr/bin/env bash
# Makes sure that redis-server is there, which the tests of the shared cache start for themselves. As root on Debian it
# installs the package; otherwise it prints the exact command and fails. Says nothing where nothing is missing.
set -euo pipefail

say() { printf 'redis-server: %s\n' "$*" >&2; }
. "$(dirname "${BASH_SOURCE[0]}")/apt.sh"

if command -v redis-server >/dev/null; then
    exit 0
fi
if [[ $EUID -eq 0 ]] && command -v apt-get >/dev/null; then
    # The binary lies in redis-tools, but only redis-server links it under this name.
    say "installing redis-server"
    patient_apt update --quiet=2
    DEBIAN_FRONTEND=noninteractive patient_apt install --quiet=2 --yes --no-install-recommends redis-server >/dev/null
    exit 0
fi
if command -v apt-get >/dev/null; then
    say "run:  sudo apt-get update && sudo apt-get install --yes --no-install-recommends redis-server"
else
    say "install it with this system's package manager"
fi
exit 1
