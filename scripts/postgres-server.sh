#!/usr/bin/env bash
# Makes sure that the programs of a PostgreSQL server are there, which the tests of results start for themselves. As root
# on Debian it installs the package; otherwise it prints the exact command and fails. Says nothing where nothing is missing.
set -euo pipefail

say() { printf 'postgres-server: %s\n' "$*" >&2; }
. "$(dirname "${BASH_SOURCE[0]}")/apt.sh"

# Debian keeps them off the path, a folder a version.
if command -v initdb >/dev/null || compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null; then
    exit 0
fi
if [[ $EUID -eq 0 ]] && command -v apt-get >/dev/null; then
    say "installing postgresql"
    patient_apt update --quiet=2
    # Without a cluster of its own: each test makes one.
    mkdir -p /etc/postgresql-common
    [[ -e /etc/postgresql-common/createcluster.conf ]] || echo 'create_main_cluster = false' >/etc/postgresql-common/createcluster.conf
    DEBIAN_FRONTEND=noninteractive patient_apt install --quiet=2 --yes --no-install-recommends postgresql >/dev/null
    exit 0
fi
if command -v apt-get >/dev/null; then
    say "run:  sudo apt-get update && sudo apt-get install --yes --no-install-recommends postgresql"
else
    say "install it with this system's package manager"
fi
exit 1
