# Certificates, etcd, API server, controller manager, scheduler and fake nodes. Knows nothing of real nodes. Sourced by up.sh.

start_control_plane() {
    make_certificates
    # Their usual 20 requests a second would be what a test of many pods measures.
    local quick=(--kube-api-qps 500 --kube-api-burst 1000)
    local etcd=http://127.0.0.1:2379 pki=$cluster_state/pki
    # Nothing outlives a cluster whose machine fails, and a disk that stands still would end requests.
    start etcd "$cluster_bin/etcd" --unsafe-no-fsync --data-dir "$cluster_state/etcd" --listen-client-urls "$etcd" \
        --advertise-client-urls "$etcd" --listen-peer-urls http://127.0.0.1:2380 --log-level warn
    start kube-apiserver "$cluster_bin/kube-apiserver" --etcd-servers "$etcd" --secure-port 6443 \
        --advertise-address "$cluster_address" --endpoint-reconciler-type lease \
        --service-cluster-ip-range "$cluster_services" --allow-privileged \
        --client-ca-file "$pki/ca.crt" --tls-cert-file "$pki/apiserver.crt" --tls-private-key-file "$pki/apiserver.key" \
        --cert-dir "$pki" --kubelet-client-certificate "$pki/admin.crt" --kubelet-client-key "$pki/admin.key" \
        --kubelet-preferred-address-types InternalIP \
        --service-account-issuer https://kubernetes.default.svc --service-account-key-file "$pki/accounts.pub" \
        --service-account-signing-key-file "$pki/accounts.key" \
        --authorization-mode Node,RBAC --enable-admission-plugins NodeRestriction,OwnerReferencesPermissionEnforcement \
        --audit-policy-file "$cluster_scripts/files/audit-policy.yaml" --audit-log-path "$cluster_logs/audit.log"
    # The controller manager waits no longer than 10 s for an API server, and ends.
    wait_for etcd 120 bash -c 'exec 3<>/dev/tcp/127.0.0.1/2379'
    wait_for kube-apiserver 120 "$cluster_bin/kubectl" --kubeconfig "$cluster_kubeconfig" get --raw /readyz
    start kube-controller-manager "$cluster_bin/kube-controller-manager" \
        --kubeconfig "$pki/controller-manager.kubeconfig" --use-service-account-credentials --leader-elect=false \
        --service-account-private-key-file "$pki/accounts.key" --root-ca-file "$pki/ca.crt" \
        --cluster-signing-cert-file "$pki/ca.crt" --cluster-signing-key-file "$pki/ca.key" \
        --cluster-cidr "$cluster_pods" --allocate-node-cidrs --cert-dir "$pki/controllers" "${quick[@]}"
    start kube-scheduler "$cluster_bin/kube-scheduler" --kubeconfig "$pki/scheduler.kubeconfig" --leader-elect=false \
        --cert-dir "$pki/scheduling" "${quick[@]}"
    wait_for kube-controller-manager 120 "$cluster_bin/kubectl" --kubeconfig "$cluster_kubeconfig" \
        get serviceaccount default --namespace default
    apply_all <"$cluster_scripts/files/cluster.yaml"
}

# Nodes that exist as objects alone, and a program that answers for their kubelets.
start_fake_nodes() {
    local number=$1
    for ((i = 1; i <= number; i++)); do
        sed "s/@NUMBER@/$i/" "$cluster_scripts/files/fake-node.yaml"
    done | apply_all
    start kwok "$cluster_bin/kwok" --kubeconfig "$cluster_kubeconfig" --config "$cluster_scripts/files/kwok.yaml" \
        --manage-all-nodes --node-lease-duration-seconds 40 --node-ip "$cluster_address" --cidr 10.245.0.0/16
    wait_for kwok 120 "$cluster_bin/kubectl" --kubeconfig "$cluster_kubeconfig" wait --for condition=Ready nodes --all --timeout 10s
}

make_certificates() {
    local pki=$cluster_state/pki
    mkdir -p "$pki"
    # All inside one cluster that lives for hours; elliptic keys because they are made at once.
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 30 -subj /CN=cluster-ca \
        -keyout "$pki/ca.key" -out "$pki/ca.crt" 2>/dev/null
    openssl ecparam -name prime256v1 -genkey -noout -out "$pki/accounts.key"
    openssl ec -in "$pki/accounts.key" -pubout -out "$pki/accounts.pub" 2>/dev/null
    sign apiserver /CN=kube-apiserver "IP:$cluster_address,IP:127.0.0.1,IP:10.96.0.1,DNS:localhost,DNS:kubernetes.default.svc"
    sign node /O=system:nodes/CN=system:node:node-1 "IP:$cluster_address,DNS:node-1"
    sign admin /O=system:masters/CN=admin DNS:admin
    sign controller-manager /CN=system:kube-controller-manager DNS:controller-manager
    sign scheduler /CN=system:kube-scheduler DNS:scheduler
    sign proxy /CN=system:kube-proxy DNS:proxy
    sign name-service /CN=system:name-service DNS:name-service
    sign network-policies /CN=system:network-policies DNS:network-policies
    for user in admin controller-manager scheduler node proxy name-service network-policies; do
        write_kubeconfig "$user"
    done
}

# sign NAME SUBJECT ALTERNATIVES
sign() {
    local pki=$cluster_state/pki
    openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj "$2" -keyout "$pki/$1.key" -out "$pki/$1.csr" \
        2>/dev/null
    openssl x509 -req -in "$pki/$1.csr" -CA "$pki/ca.crt" -CAkey "$pki/ca.key" -CAcreateserial -days 30 -out "$pki/$1.crt" \
        -extfile <(printf 'subjectAltName=%s\nextendedKeyUsage=serverAuth,clientAuth\n' "$3") 2>/dev/null
}

write_kubeconfig() {
    local pki=$cluster_state/pki
    cat >"$pki/$1.kubeconfig" <<END
apiVersion: v1
kind: Config
current-context: cluster
clusters:
- name: cluster
  cluster: {server: "https://$cluster_address:6443", certificate-authority-data: $(base64 --wrap 0 "$pki/ca.crt")}
users:
- name: $1
  user:
    client-certificate-data: $(base64 --wrap 0 "$pki/$1.crt")
    client-key-data: $(base64 --wrap 0 "$pki/$1.key")
contexts:
- name: cluster
  context: {cluster: cluster, user: $1}
END
}
