# What the scripts of a cluster share: where it lies, how to enter it, how to wait for it. Sourced, never run.
#
# A cluster is a set of Linux namespaces (processes, mounts, network, and for a person who is not root also users) that one
# process holds open. All its programs run inside. The addresses are therefore the same in every cluster and nothing of it
# is reached from outside; when the holder ends, the kernel ends every process and every mount with it.

set -euo pipefail

cluster_scripts=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cluster_caches=${XDG_CACHE_HOME:-$HOME/.cache}/docket
cluster_bin=$cluster_caches/kubernetes/bin
# The address of the node, of its API server and of its name server.
cluster_address=10.200.0.1
cluster_services=10.96.0.0/16
cluster_pods=10.244.0.0/16
cluster_pause=registry.local/pause:3.10

say() { printf 'cluster %s: %s\n' "$cluster_name" "$*" >&2; }
fail() { say "$*"; exit 1; }

# Names the cluster that all that follows is about. The name stands in the names of cgroups.
choose_cluster() {
    cluster_name=$1
    [[ $cluster_name =~ ^[a-z]([a-z0-9-]{0,30}[a-z0-9])?$ ]] ||
        { cluster_name='?'; fail "\"$1\" is no name for a cluster: at most 32 lower-case letters, digits and hyphens, a letter first"; }
    cluster_state=${XDG_STATE_HOME:-$HOME/.local/state}/docket/clusters/$cluster_name
    cluster_logs=$cluster_state/logs
    cluster_pids=$cluster_state/pids
    cluster_kubeconfig=$cluster_state/pki/admin.kubeconfig
    cluster_containerd=$cluster_state/containerd/containerd.sock
    cluster_cgroup=docket-$cluster_name
}

# The process that holds the namespaces; empty where the cluster does not run.
holder() {
    local pid
    pid=$(cat "$cluster_pids/holder" 2>/dev/null) || return 0
    # A number may belong to another process by now; the holder has the state folder in its environment.
    grep -qzx "DOCKET_CLUSTER_STATE=$cluster_state" "/proc/$pid/environ" 2>/dev/null && echo "$pid" || true
}

# Sets `way_in` to the command that runs another in the cluster: with "network" in its network alone, with "all" in all of it.
# Root has no need of a user namespace.
find_way_in() {
    local pid
    pid=$(holder)
    [[ -n $pid ]] || fail "does not run; start it with e2e/cluster/up.sh --name $cluster_name"
    way_in=(nsenter --target "$pid" --net)
    [[ $1 == network ]] || way_in+=(--mount --pid)
    ((EUID == 0)) || way_in+=(--user --preserve-credentials)
}

# start NAME COMMAND…: starts a program of the cluster in the background, with a log and its process id as seen from outside.
start() {
    local name=$1 pid child deadline=$((SECONDS + 120))
    shift
    find_way_in all
    # A session of its own, so that Ctrl-C in the terminal does not reach the cluster.
    "${way_in[@]}" setsid "$@" >"$cluster_logs/$name.log" 2>&1 </dev/null &
    pid=$!
    # nsenter enters the process namespace by a child.
    while ((SECONDS < deadline)); do
        child=$(cat "/proc/$pid/task/$pid/children" 2>/dev/null) || break
        [[ -n $child ]] && { echo "${child// /}" >"$cluster_pids/$name"; return 0; }
        sleep 0.02
    done
    give_up "$name"
}

# wait_for NAME SECONDS COMMAND…: until the command succeeds. Fails when the program NAME ends, or with the time.
wait_for() {
    local name=$1 deadline=$((SECONDS + $2))
    shift 2
    until "${way_in[@]}" "$@" >/dev/null 2>&1; do
        [[ -d /proc/$(cat "$cluster_pids/$name") ]] || give_up "$name"
        ((SECONDS < deadline)) || give_up "$name"
        sleep 0.2
    done
}

give_up() {
    say "$1 did not come up; the end of $cluster_logs/$1.log:"
    tail -n 15 "$cluster_logs/$1.log" >&2
    exit 1
}

kubectl() {
    find_way_in all
    "${way_in[@]}" "$cluster_bin/kubectl" --kubeconfig "$cluster_kubeconfig" --cache-dir "$cluster_state/kube-cache" "$@"
}

# apply_all <OBJECTS: again where it fails, because an API server may stand still with its machine. What is there already is no
# error.
apply_all() {
    local objects
    objects=$(cat)
    for _ in {1..10}; do
        if kubectl apply --filename - <<<"$objects" >/dev/null; then return 0; fi
        sleep 1
    done
    fail "its API server does not take its first objects"
}
