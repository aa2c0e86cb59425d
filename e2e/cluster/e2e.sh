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
# Processes that tell stories on clusters of their own, while there are some, by what follows the name of the cluster.
declare -A beside=() said=()
# Stories add to it why they failed.
E2E_FAILURES=$(mktemp)
export E2E_FAILURES
step() { printf '\n== %s\n' "$*"; }

finish() {
    local status=$?
    if ((status)); then
        rm -rf "$reports"
        mkdir -p "$reports"
        cp "${XDG_STATE_HOME:-$HOME/.local/state}/docket/clusters/$name/logs/"*.log "$reports/" 2>/dev/null || true
        echo "the logs of the cluster are in $reports"
        if [[ -s $E2E_FAILURES ]]; then
            step "why stories failed"
            cat "$E2E_FAILURES"
        fi
    fi
    rm -rf "$E2E_FAILURES" "$DOCKET_IMAGES"
    for suffix in "${!beside[@]}"; do
        kill "${beside[$suffix]}" 2>/dev/null && e2e/cluster/down.sh --name "$name-$suffix"
    done
    if [[ -n ${E2E_KEEP-} ]]; then
        echo "the cluster stays:  e2e/cluster/run.sh --name $name kubectl get pods --all-namespaces"
    else
        e2e/cluster/down.sh --name "$name"
    fi
}

# stories CLUSTER TEST THREADS ARGUMENTS…
stories() {
    local cluster=$1 test=$2 threads=$3
    shift 3
    step "$test $*"
    e2e/cluster/run.sh --name "$cluster" cargo test "${selection[@]}" --test "$test" -- --ignored --nocapture \
        --test-threads "$threads" "$@"
}

# What parts' deaths may do to documents and pools is told once, and so is a campaign.
told_once='^(alone::)?(kills|outages|gaps|servers|upgrade)::|^the_operator_comes_to_the_same_end'

# stories_unless_unstable CLUSTER TEST THREADS ARGUMENTS…: where few fail, no more than are told side by side, they are told once more,
# alone. One that passes then is named as unstable, with why it failed, and fails nothing.
stories_unless_unstable() {
    local heard status=0 story wrong
    heard=$(mktemp)
    stories "$@" | tee "$heard" || status=$?
    mapfile -t wrong < <(sed -n '/^failures:$/,$p' "$heard" | sed -nE 's/^    ([a-z0-9_]+(::[a-z0-9_]+)*)$/\1/p' | sort -u)
    rm -f "$heard"
    ((status)) || return 0
    ((${#wrong[@]} > 0 && ${#wrong[@]} <= $3)) || return $status
    for story in "${wrong[@]}"; do [[ ! $story =~ $told_once ]] || return $status; done
    for story in "${wrong[@]}"; do stories "$1" "$2" 1 --exact "$story" || return $status; done
    step "unstable: failed at first and passed alone: ${wrong[*]}"
    cat "$E2E_FAILURES"
}

# on_its_own SUFFIX "OPTIONS OF THE CLUSTER" TEST ARGUMENTS…: one story after the other, on a cluster that ends with them.
on_its_own() {
    local cluster=$name-$1 options=$2 test=$3 status=0
    shift 3
    e2e/cluster/down.sh --name "$cluster"
    # shellcheck disable=SC2086
    e2e/cluster/up.sh --name "$cluster" $options
    stories_unless_unstable "$cluster" "$test" 1 "$@" || status=$?
    e2e/cluster/down.sh --name "$cluster"
    return $status
}

# begin SUFFIX …: on_its_own, beside everything else; what it says is shown when it is over.
begin() {
    said[$1]=$(mktemp)
    on_its_own "$@" >"${said[$1]}" 2>&1 &
    beside[$1]=$!
}

# No story asks for models: their image, the largest, would be unpacked into every cluster for nobody.
all=${DOCKET_IMAGES:-${XDG_CACHE_HOME:-$HOME/.cache}/docket/images}
DOCKET_IMAGES=$(mktemp -d)
export DOCKET_IMAGES
for archive in "$all"/*.tar; do
    [[ $archive == */docket-models.tar ]] || ln -s "$(realpath "$archive")" "$DOCKET_IMAGES/"
done

# A new one each time: the audit log is about these stories alone.
e2e/cluster/down.sh --name "$name"
trap finish EXIT
# To enforce NetworkPolicies is work for every pod that comes and goes, and most do here: the other clusters do.
e2e/cluster/up.sh --name "$name" --open-network
# Here the operator makes PodMonitors and is asked whether it uses its rights; the other clusters do not know the kind.
e2e/cluster/run.sh --name "$name" kubectl apply --server-side --filename e2e/manifests/pod-monitors.yaml

if [[ -n ${E2E_STORY-} ]]; then
    # Those of installation take Docket away, and tell where no other does.
    status=0
    stories "$name" e2e_stories 1 "$E2E_STORY" || status=1
    on_its_own install "" e2e_install "$E2E_STORY" || status=1
    exit $status
fi

# All are run, so that one run names everything that is wrong. Most of a story is waiting, so they are told side by side; those
# that must be alone, those of installation, which take Docket away, and the operator as a process among fake nodes have
# clusters of their own.
begin alone "" e2e_stories alone::
begin install "" e2e_install
wrong=()
stories_unless_unstable "$name" e2e_cluster 4 || wrong+=(e2e_cluster)
stories_unless_unstable "$name" e2e_stories 4 --skip alone:: || wrong+=(e2e_stories)
# About what the stories made the operator do.
stories "$name" e2e_rights 1 || wrong+=(e2e_rights)
begin faults "--kwok 4" e2e_faults
for suffix in alone install faults; do
    wait "${beside[$suffix]}" || wrong+=("those on the cluster $name-$suffix")
    unset "beside[$suffix]"
    cat "${said[$suffix]}"
    rm -f "${said[$suffix]}"
done
((${#wrong[@]} == 0)) || { echo "failed: ${wrong[*]}" >&2; exit 1; }
step "all stories passed after $SECONDS s"
