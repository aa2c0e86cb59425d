#!/usr/bin/env bash
# Prints where Helm 3 is: $HELM, on the path, among the programs of the test cluster, or built for this (a minute; needs Go).
set -euo pipefail

version=v3.22.0
cache=${XDG_CACHE_HOME:-$HOME/.cache}/docket
program=$cache/servers/helm-$version

if [[ -n ${HELM:-} ]]; then
    echo "$HELM"
    exit
fi
if command -v helm; then
    exit
fi
if [[ -x $cache/kubernetes/bin/helm ]]; then
    echo "$cache/kubernetes/bin/helm"
    exit
fi
if [[ ! -x $program ]]; then
    if ! command -v go >/dev/null; then
        echo "helm: neither Helm nor Go is here; install Helm 3, or Go to build it" >&2
        exit 1
    fi
    mkdir -p "$(dirname "$program")"
    work=$(mktemp -d "$(dirname "$program")/incoming.XXXXXX")
    trap 'rm -rf "$work"' EXIT
    GOBIN=$work CGO_ENABLED=0 go install -trimpath -ldflags "-s -w" "helm.sh/helm/v3/cmd/helm@$version" >&2
    # Under its name only when it is whole.
    mv "$work/helm" "$program"
fi
echo "$program"
