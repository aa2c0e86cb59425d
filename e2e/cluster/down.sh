#!/usr/bin/env bash
# Ends a cluster and removes everything of it: down.sh [--name NAME]
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

name=${DOCKET_CLUSTER:-docket}
while (($#)); do
    case $1 in
        --name) name=${2:?--name needs a name}; shift 2 ;;
        *) echo "down.sh: unknown argument \"$1\"" >&2; exit 2 ;;
    esac
done
choose_cluster "$name"

pid=$(holder)
if [[ -n $pid ]]; then
    # With the first process of a process namespace the kernel ends all others, and with the last one the mounts.
    kill -KILL "$pid"
    while [[ -d /proc/$pid ]]; do sleep 0.05; done
    say "is down"
fi

# A cgroup can be removed when its processes are gone, from the leaves up.
for top in /sys/fs/cgroup/"$cluster_cgroup" /sys/fs/cgroup/*/"$cluster_cgroup"; do
    [[ -d $top ]] || continue
    for _ in {1..50}; do
        find "$top" -depth -type d -exec rmdir {} + 2>/dev/null && break
        sleep 0.1
    done
done
rm -rf --one-file-system "$cluster_state"
