#!/usr/bin/env bash
# Whether this machine can hold a node of a real Kubernetes; says what it lacks and fails where it cannot.
set -euo pipefail

((EUID == 0)) || { echo "a node needs root"; exit 1; }
unshare --net --mount --pid --fork true 2>/dev/null || { echo "this machine lets nobody make namespaces"; exit 1; }
grep -q cgroup /proc/mounts || { echo "this machine has no cgroups"; exit 1; }
command -v go >/dev/null || { echo "Go is missing, which builds Kubernetes"; exit 1; }
