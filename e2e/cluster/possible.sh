#!/usr/bin/env bash
# Says whether a real Kubernetes with a node can run on this machine: succeeds, or says in one line why not. Asks only for what
# no package brings: rights, and a kernel that lets them be used.
set -euo pipefail

no() { echo "$*"; exit 1; }

[[ $(uname -s) == Linux ]] || no "a node needs Linux"
((EUID == 0)) || no "a node needs root"
unshare --net --mount --propagation private --pid --fork --mount-proc true 2>/dev/null ||
    no "this machine allows no namespaces of one's own"
unshare --net ip link add node0 type bridge 2>/dev/null || no "this machine allows no network bridge"
# Version 2 has one hierarchy, version 1 one a controller.
for hierarchy in /sys/fs/cgroup/memory /sys/fs/cgroup; do
    [[ -d $hierarchy ]] || continue
    mkdir "$hierarchy/docket-possible-$$" 2>/dev/null || no "this machine allows no control groups of one's own ($hierarchy)"
    rmdir "$hierarchy/docket-possible-$$"
    break
done
