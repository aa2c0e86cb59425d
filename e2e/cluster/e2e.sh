#!/usr/bin/env bash
# The end-to-end tests, on a cluster of their own: e2e.sh CARGO-ARGUMENTS…, the selection of crates. Called by `make e2e`,
# which has built everything, images too.
#
# E2E_KEEP=1 leaves the cluster, and the namespaces of stories, for a look; E2E_STORY=NAME runs only stories whose names
# contain it.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

name=e2e
selection=("$@")
reports=.reports/e2e
# The process that does the rest on clusters of its own, while there is one.
beside=
step() { printf '\n== %s\n' "$*"; }

finish() {
    local status=$?
    if ((status)); then
        rm -rf "$reports"
        mkdir -p "$reports"
        cp "${XDG_STATE_HOME:-$HOME/.local/state}/docket/clusters/$name/logs/"*.log "$reports/" 2>/dev/null || true
        echo "the logs of the cluster are in $reports"
    fi
    if [[ -n $beside ]] && kill "$beside" 2>/dev/null; then
        e2e/cluster/down.sh --name "$name-faults"
        e2e/cluster/down.sh --name "$name-install"
    fi
    if [[ -n ${E2E_KEEP-} ]]; then
        echo "the cluster stays:  e2e/cluster/run.sh --name $name kubectl get pods --all-namespaces"
    else
        e2e/cluster/down.sh --name "$name"
    fi
}

stories() {
    local test=$1 threads=$2 cluster=${3:-$name}
    step "$test"
    e2e/cluster/run.sh --name "$cluster" cargo test "${selection[@]}" --test "$test" -- --ignored --nocapture \
        --test-threads "$threads" ${E2E_STORY:+"$E2E_STORY"}
}

# on_its_own SUFFIX TEST OPTIONS…: on a cluster that ends with the test.
on_its_own() {
    local cluster=$name-$1 test=$2 status=0
    shift 2
    e2e/cluster/down.sh --name "$cluster"
    e2e/cluster/up.sh --name "$cluster" "$@"
    stories "$test" 1 "$cluster" || status=$?
    e2e/cluster/down.sh --name "$cluster"
    return $status
}

# All are run, so that one run names everything that is wrong. Most of a story is waiting, so what needs a cluster of its own
# takes place beside them, and what it said is shown when it is over: the operator as a process among fake nodes, and the
# stories of installation, of which each takes Docket away.
wrong=()
said=$(mktemp)
{
    failed=0
    [[ -n ${E2E_STORY-} ]] || on_its_own faults e2e_faults --kwok 4 || failed=1
    on_its_own install e2e_install || failed=1
    exit $failed
} >"$said" 2>&1 &
beside=$!

# A new one each time: the audit log is about these stories alone.
e2e/cluster/down.sh --name "$name"
trap finish EXIT
e2e/cluster/up.sh --name "$name"
stories e2e_cluster 4 || wrong+=(e2e_cluster)
stories e2e_stories 4 || wrong+=(e2e_stories)
# About what the stories made the operator do.
[[ -n ${E2E_STORY-} ]] || stories e2e_rights 1 || wrong+=(e2e_rights)
wait "$beside" || wrong+=("e2e_install or e2e_faults")
beside=
cat "$said"
rm -f "$said"
((${#wrong[@]} == 0)) || { echo "failed: ${wrong[*]}" >&2; exit 1; }
step "all stories passed after $SECONDS s"
