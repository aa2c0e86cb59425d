#!/usr/bin/env bash
# Loads images into a cluster: load.sh [--name NAME] [ARCHIVE.tar…]
# Without archives, all of ${DOCKET_IMAGES:-the cache folder's docket/images}. The image that holds a pod's network is made
# where none of them is it.
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

name=${DOCKET_CLUSTER:-docket}
if [[ ${1-} == --name ]]; then
    name=${2:?--name needs a name}
    shift 2
fi
choose_cluster "$name"

find_way_in all

containers() { "${way_in[@]}" ctr --address "$cluster_containerd" --namespace k8s.io images "$@"; }
has_pause() { containers list --quiet | grep -qxF "$cluster_pause"; }

archives=("$@")
if ((${#archives[@]} == 0)); then
    shopt -s nullglob
    archives=("${DOCKET_IMAGES:-$cluster_caches/images}"/*.tar)
fi
for archive in "${archives[@]}"; do
    containers import "$(realpath "$archive")" >/dev/null || fail "could not load $archive"
done
has_pause || containers import "$("$cluster_scripts/pause.sh")" >/dev/null
