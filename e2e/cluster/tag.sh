#!/usr/bin/env bash
# Gives an image of a cluster a second name: tag.sh [--name NAME] IMAGE ANOTHER
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

name=${DOCKET_CLUSTER:-docket}
if [[ ${1-} == --name ]]; then
    name=${2:?--name needs a name}
    shift 2
fi
(($# == 2)) || { echo "tag.sh: two names are wanted" >&2; exit 2; }
choose_cluster "$name"

find_way_in all
"${way_in[@]}" ctr --address "$cluster_containerd" --namespace k8s.io images tag --force "$1" "$2"
