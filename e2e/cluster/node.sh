# The node of a cluster: containerd, kubelet, kube-proxy, the name service, and what enforces
# NetworkPolicies. Sourced by up.sh.

# What holds images and runs containers: before everything else, since loading images takes longest.
start_runtime() {
    need_programs
    make_cgroup
    write_node_files
    start containerd containerd --config "$cluster_state/node/containerd.toml"
    wait_for containerd 120 ctr --address "$cluster_containerd" version
}

start_node() {
    local files=$cluster_state/node pki=$cluster_state/pki
    start kubelet "$cluster_bin/kubelet" --config "$files/kubelet.yaml" --kubeconfig "$pki/node.kubeconfig" \
        --hostname-override node-1 --node-ip "$cluster_address" --root-dir "$cluster_state/kubelet"
    start kube-proxy "$cluster_bin/kube-proxy" --config "$files/proxy.yaml" --hostname-override node-1
    start coredns "$cluster_bin/coredns" -conf "$files/Corefile"
    make_volumes
    wait_for kubelet 120 "$cluster_bin/kubectl" --kubeconfig "$cluster_kubeconfig" wait node/node-1 --for condition=Ready --timeout 10s
    wait_for kube-proxy 120 bash -c 'exec 3<>/dev/tcp/127.0.0.1/10256'
    wait_for coredns 120 bash -c 'exec 3<>/dev/tcp/127.0.0.1/8181'
}

# Makes NetworkPolicies count, also between pods of the node.
enforce_policies() {
    # Of all that it can do, the policies alone. It wants to know its node from the start.
    start kube-router "$cluster_bin/kube-router" --kubeconfig "$cluster_state/pki/network-policies.kubeconfig" \
        --hostname-override node-1 --run-firewall --run-router=false --run-service-proxy=false --enable-cni=false \
        --service-cluster-ip-range "$cluster_services" --health-port 20244 --v 1
    wait_for kube-router 120 iptables --list KUBE-ROUTER-FORWARD
}

# What claims can be bound to while the cluster lasts: enough for many installations of the broker.
make_volumes() {
    local number
    for number in {1..60}; do
        mkdir -p "$cluster_state/volumes/$number"
        sed -e "s#@STATE@#$cluster_state#" -e "s#@NUMBER@#$number#" "$cluster_scripts/files/volume.yaml"
    done | apply_all
}

need_programs() {
    local missing=()
    command -v containerd >/dev/null || missing+=(containerd)
    command -v runc >/dev/null || missing+=(runc)
    [[ -n $(network_plugins) ]] || missing+=(containernetworking-plugins)
    command -v iptables >/dev/null || missing+=(iptables)
    command -v conntrack >/dev/null || missing+=(conntrack)
    command -v ipset >/dev/null || missing+=(ipset)
    ((${#missing[@]} == 0)) || fail "these are missing: ${missing[*]}; scripts/setup-cluster.sh installs them"
}

# Debian's package has them elsewhere than the project itself.
network_plugins() {
    local folder
    for folder in /usr/lib/cni /opt/cni/bin; do
        [[ ! -x $folder/bridge ]] || { echo "$folder"; return; }
    done
}

# Pods of two clusters lie in two places, because a kubelet ends what it finds in its own and does not know.
make_cgroup() {
    if [[ -e /sys/fs/cgroup/cgroup.controllers ]]; then
        mkdir -p "/sys/fs/cgroup/$cluster_cgroup"
        local controllers='+cpu +cpuset +memory +pids +io'
        echo "$controllers" >/sys/fs/cgroup/cgroup.subtree_control
        echo "$controllers" >"/sys/fs/cgroup/$cluster_cgroup/cgroup.subtree_control"
        return
    fi
    for hierarchy in /sys/fs/cgroup/*/; do
        [[ -e ${hierarchy}cgroup.procs ]] && mkdir -p "$hierarchy$cluster_cgroup"
    done
}

write_node_files() {
    local files=$cluster_state/node file
    mkdir -p "$files/cni"
    for file in containerd.toml kubelet.yaml proxy.yaml Corefile cni/10-bridge.conflist; do
        sed -e "s#@STATE@#$cluster_state#g" -e "s#@ADDRESS@#$cluster_address#g" -e "s#@PODS@#$cluster_pods#g" \
            -e "s#@CGROUP@#/$cluster_cgroup#g" -e "s#@PAUSE@#$cluster_pause#g" \
            -e "s#@PLUGINS@#$(network_plugins)#g" \
            "$cluster_scripts/files/${file##*/}" >"$files/$file"
    done
}
