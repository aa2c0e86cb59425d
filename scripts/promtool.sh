#!/usr/bin/env bash
# Prints where promtool is: $PROMTOOL, on the path, or taken out of Debian's package `prometheus`, which is not installed for
# it: its server would start.
set -euo pipefail

program=${XDG_CACHE_HOME:-$HOME/.cache}/docket/servers/promtool

if [[ -n ${PROMTOOL:-} ]]; then
    echo "$PROMTOOL"
    exit
fi
if command -v promtool; then
    exit
fi
if [[ ! -x $program ]]; then
    if ! command -v apt-get >/dev/null; then
        echo "promtool: it is not here; install Prometheus" >&2
        exit 1
    fi
    work=$(mktemp -d)
    trap 'rm -rf "$work"' EXIT
    # apt gives up its rights for the download.
    chmod 0777 "$work"
    (cd "$work" && apt-get download --quiet=2 prometheus >&2 && dpkg-deb --extract prometheus_*.deb tree)
    mkdir -p "$(dirname "$program")"
    mv "$work/tree/usr/bin/promtool" "$program.new"
    # Under its name only when it is whole.
    mv "$program.new" "$program"
fi
echo "$program"
