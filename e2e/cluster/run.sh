#!/usr/bin/env bash
# Runs a command inside a cluster's network, as its administrator: run.sh [--name NAME] COMMAND…
# Services and pods have the addresses that the cluster gave them; kubectl, helm and the other programs are on the PATH.
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

name=${DOCKET_CLUSTER:-docket}
if [[ ${1-} == --name ]]; then
    name=${2:?--name needs a name}
    shift 2
fi
(($#)) || { echo "run.sh: no command" >&2; exit 2; }
choose_cluster "$name"
export DOCKET_CLUSTER=$name
export DOCKET_CLUSTER_STATE=$cluster_state
export KUBECONFIG=$cluster_kubeconfig
# All clusters have the same address, and kubectl and helm keep what they learn of a server by its address.
export KUBECACHEDIR=$cluster_state/kube-cache
export PATH=$cluster_bin:$PATH
find_way_in network
exec "${way_in[@]}" "$@"
