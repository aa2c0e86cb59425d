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
# What has just ended may hold a file or a mount for a moment. Where some of it stays, whoever is done with the cluster has not
# failed: up.sh looks itself whether something is in its way.
for _ in {1..50}; do
    rm -rf --one-file-system "$cluster_state" 2>/dev/null && exit 0
    sleep 0.2
done
rm -rf --one-file-system "$cluster_state" || say "some of $cluster_state is left"
