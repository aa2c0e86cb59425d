#!/usr/bin/env bash
# The first process of a cluster's namespaces: lays the network, then holds them open and buries what the cluster orphans.
# Started by up.sh, which waits for the word "ready".
set -euo pipefail
address=$1

ip link set lo up
# The node's only interface. Nothing is behind it: a cluster reaches itself alone.
ip link add node0 type bridge
ip addr add "$address/24" dev node0
ip link set node0 up
ip route add default dev node0

# Folders that programs of a node use by fixed names become the cluster's own. Without root there is no node.
if [[ $(cat /proc/self/uid_map) == *4294967295* ]]; then
    for folder in /var/lib/kubelet /var/lib/cni /var/log/pods /var/log/containers /run/containerd /run/netns; do
        own=$DOCKET_CLUSTER_STATE/own$folder
        mkdir -p "$folder" "$own"
        mount --bind "$own" "$folder"
    done
    sysctl -qw net.ipv4.ip_forward=1 net.ipv4.conf.all.route_localnet=1
    # So that NetworkPolicies are about pods of one node, too.
    sysctl -qw net.bridge.bridge-nf-call-iptables=1
fi

echo ready
sleep infinity &
# A shell that waits takes the exit status of every orphan, too.
wait
