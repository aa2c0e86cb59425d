#!/usr/bin/env bash
# Writes what is made from something else: the charts' copies of config/, and config/{rbac,operator,nats,network} from the
# chart. With --check it writes nothing and fails where something is stale.
set -euo pipefail
cd "$(dirname "$0")/.."

say() { printf 'charts: %s\n' "$*" >&2; }

# What `helm template` makes of some templates, without what is Helm's.
rendered() {
    local show=() template
    for template in "$@"; do
        show+=(--show-only "templates/$template.yaml")
    done
    printf '# Written by scripts/charts.sh from charts/docket; change the templates there.\n'
    "$helm" template docket charts/docket --namespace docket-system --kube-version 1.34.0 "${show[@]}" |
        sed -e '/^# Source: /d' -e '/^    app.kubernetes.io\/managed-by: Helm$/d'
}

# All of it, below $1.
write() {
    local root=$1
    mkdir -p "$root"/charts/{docket,docket-crds}/files "$root"/config/{rbac,operator,nats,network}
    cp config/crd/*.docket.dev.yaml "$root/charts/docket-crds/files/"
    cp config/alerts/docket.yaml "$root/charts/docket/files/alerts.yaml"
    cp config/grafana/docket.json "$root/charts/docket/files/dashboard.json"
    rendered rbac/cluster rbac/own-namespace rbac/users >"$root/config/rbac/rbac.yaml"
    rendered operator/service-account operator/service operator/deployment operator/disruption-budget >"$root/config/operator/operator.yaml"
    rendered nats/service-account nats/config nats/services nats/stateful-set nats/disruption-budget \
        >"$root/config/nats/nats.yaml"
    rendered network/default-deny network/operator network/nats >"$root/config/network/network.yaml"
}

helm=$(scripts/helm.sh)
fresh=$(mktemp -d)
trap 'rm -rf "$fresh"' EXIT
write "$fresh"

stale=0
while read -r file; do
    cmp --silent "$fresh/$file" "$file" && continue
    if [[ ${1:-} == --check ]]; then
        say "$file is stale; run scripts/charts.sh"
        stale=1
    else
        cp "$fresh/$file" "$file"
        say "wrote $file"
    fi
done < <(cd "$fresh" && find . -type f -printf '%P\n' | sort)
exit "$stale"
