#!/usr/bin/env bash
# Brings up a real Kubernetes on this machine: API server with etcd, controller manager and scheduler, and a node with
# kubelet, containerd, kube-proxy and name service, in namespaces of their own. About 10 seconds after the programs are built.
#
#   up.sh [--name NAME] [--open-network] [--control-plane-only] [--kwok NODES]
#
# --open-network        NetworkPolicies are stored and not enforced.
# --control-plane-only  no node: objects are stored and controllers work, but no pod runs. Needs neither root nor containerd.
# --kwok NODES          fake nodes beside it, which say that every pod runs. For tests of controllers; implies the former.
#
# Images: every OCI archive (*.tar) in ${DOCKET_IMAGES:-the cache folder's docket/images} is loaded.
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
. "$cluster_scripts/control-plane.sh"
. "$cluster_scripts/node.sh"

name=${DOCKET_CLUSTER:-docket} node=yes policies=yes fake_nodes=0
while (($#)); do
    case $1 in
        --name) name=${2:?--name needs a name}; shift 2 ;;
        --open-network) policies=; shift ;;
        --control-plane-only) node=; shift ;;
        --kwok) fake_nodes=${2:?--kwok needs a number of nodes}; node=; shift 2 ;;
        *) echo "up.sh: unknown argument \"$1\"" >&2; exit 2 ;;
    esac
done
choose_cluster "$name"
if [[ -n $(holder) ]]; then
    say "runs already"
    # Images may have been made again since.
    [[ ! -e $cluster_pids/containerd ]] || "$cluster_scripts/load.sh" --name "$name"
    exit 0
fi
[[ -z $node || $EUID -eq 0 ]] || fail "a node needs root; without it there is --control-plane-only"

began=$SECONDS
"$cluster_scripts/binaries.sh" >/dev/null
# What a cluster left behind that ended with the machine.
"$cluster_scripts/down.sh" --name "$name"
# What is left of the old one would be the new one's.
[[ ! -e $cluster_state ]] || fail "$cluster_state is left of the cluster before and cannot be removed"
mkdir -p "$cluster_state" "$cluster_logs" "$cluster_pids"

hold_namespaces() {
    local users=()
    ((EUID == 0)) || users=(--user --map-root-user)
    DOCKET_CLUSTER_STATE=$cluster_state setsid unshare "${users[@]}" --net --mount --propagation private --pid --fork \
        --kill-child --mount-proc "$cluster_scripts/hold.sh" "$cluster_address" >"$cluster_logs/holder.log" 2>&1 </dev/null &
    local unshare=$! deadline=$((SECONDS + 120))
    while ((SECONDS < deadline)); do
        cat "/proc/$unshare/task/$unshare/children" 2>/dev/null | tr -d ' ' >"$cluster_pids/holder" || break
        # It may have come, and be ready, since its number was asked for.
        [[ -s $cluster_pids/holder ]] && grep -q ready "$cluster_logs/holder.log" && return 0
        sleep 0.05
    done
    give_up holder
}

# Half a cluster helps nobody; its logs stay until the next one.
abandon() {
    local pid
    pid=$(holder)
    [[ -z $pid ]] || kill -KILL "$pid"
}
trap '(($? == 0)) || abandon' EXIT

hold_namespaces
if [[ -n $node ]]; then
    start_runtime
    "$cluster_scripts/load.sh" --name "$name" &
    loading=$!
fi
start_control_plane
if [[ -n $node ]]; then
    start_node
    [[ -z $policies ]] || enforce_policies
    wait "$loading"
fi
((fake_nodes == 0)) || start_fake_nodes "$fake_nodes"
say "is up after $((SECONDS - began)) s; for example: e2e/cluster/run.sh --name $name kubectl get pods --all-namespaces"
