"""Who reaches whom, by an evaluation of the NetworkPolicies (SEC-05): nothing is open that is not in the table, nothing closed."""

import unittest

from support import NAMESPACE, of_kind, one, pod_template, rendered

AGENT = {
    "app.kubernetes.io/name": "docket",
    "app.kubernetes.io/component": "agents",
    "app.kubernetes.io/managed-by": "docket-operator",
}
OPERATOR = {"app.kubernetes.io/name": "docket", "app.kubernetes.io/component": "operator"}
NATS = {"app.kubernetes.io/name": "docket", "app.kubernetes.io/component": "nats"}
# Namespace and labels of pods as they are in a cluster.
PODS = {
    "operator": (NAMESPACE, OPERATOR),
    "nats": (NAMESPACE, NATS),
    "other": (NAMESPACE, {"app": "other"}),
    "agent-a": ("team-a", AGENT),
    "gateway-a": ("team-a", AGENT | {"app.kubernetes.io/component": "gateway"}),
    "agent-c": ("team-c", AGENT),
    "stranger": ("team-a", {"app": "shop"}),
    "prometheus": ("monitoring", {"app": "prometheus"}),
    "keda": ("keda", {"app": "keda-operator"}),
}
PORTS = [4222, 6222, 8222, 9090, 9091]
OPEN = {
    ("operator", "nats", 4222),
    ("nats", "nats", 6222),
    ("agent-a", "nats", 4222),
    ("gateway-a", "nats", 4222),
    ("agent-c", "nats", 4222),
}


def selects(selector, labels):
    for expression in selector.get("matchExpressions", []):
        assert expression["operator"] == "In"
        if labels.get(expression["key"]) not in expression["values"]:
            return False
    return selector.get("matchLabels", {}).items() <= labels.items()


def peer_matches(peer, namespace, own_namespace, labels):
    """Whether a pod is meant by a peer of a rule. Addresses of pods are in no block here."""
    if "ipBlock" in peer:
        return False
    if "namespaceSelector" in peer:
        if not selects(peer["namespaceSelector"], {"kubernetes.io/metadata.name": namespace}):
            return False
    elif namespace != own_namespace:
        return False
    return selects(peer.get("podSelector", {}), labels)


class Matrix:
    def __init__(self, objects):
        self.policies = of_kind(objects, "NetworkPolicy")
        self.ports = {}
        for workload in of_kind(objects, "Deployment", "StatefulSet"):
            pod = pod_template(workload)
            component = pod["metadata"]["labels"]["app.kubernetes.io/component"]
            self.ports[component] = {p["name"]: p["containerPort"] for p in pod["spec"]["containers"][0]["ports"]}

    def allowed(self, direction, pod, peer, port, target):
        """Whether the policies of `pod` let it speak to `peer` (Egress) or be spoken to by it (Ingress)."""
        (namespace, labels), (peer_namespace, peer_labels) = PODS[pod], PODS[peer]
        mine = [p for p in self.policies if p["metadata"]["namespace"] == namespace]
        mine = [p for p in mine if direction in p["spec"]["policyTypes"] and selects(p["spec"]["podSelector"], labels)]
        if not mine:
            return True
        names = self.ports.get(PODS[target][1].get("app.kubernetes.io/component"), {})
        for rule in (rule for policy in mine for rule in policy["spec"].get(direction.lower()) or []):
            ports = {names.get(p["port"], p["port"]) for p in rule.get("ports", []) if p["protocol"] == "TCP"}
            peers = rule.get("from" if direction == "Ingress" else "to")
            is_peer = peers is None or any(peer_matches(p, peer_namespace, namespace, peer_labels) for p in peers)
            if is_peer and (port in ports or "ports" not in rule):
                return True
        return False

    def open(self):
        return {
            (a, b, port)
            for a in PODS
            for b in PODS
            for port in PORTS
            # What others do among themselves is theirs.
            if NAMESPACE in (PODS[a][0], PODS[b][0])
            and self.allowed("Egress", a, b, port, target=b)
            and self.allowed("Ingress", b, a, port, target=b)
        }


class Network(unittest.TestCase):
    def test_what_is_open_is_exactly_what_is_needed(self):
        self.assertEqual(Matrix(rendered("default")).open(), OPEN)

    def test_one_server_has_no_routes(self):
        self.assertEqual(Matrix(rendered("one-server")).open(), OPEN - {("nats", "nats", 6222)})

    def test_namespaced_other_namespaces_are_strangers(self):
        self.assertEqual(Matrix(rendered("namespaced")).open(), OPEN - {("agent-c", "nats", 4222)})

    def test_metrics_are_open_to_whom_they_are_opened(self):
        self.assertEqual(Matrix(rendered("monitored")).open(), OPEN | {("prometheus", "operator", 9090)})

    def test_keda_alone_reaches_the_external_scaler(self):
        self.assertEqual(Matrix(rendered("keda")).open(), OPEN | {("keda", "operator", 9091)})

    def test_without_policies_everything_is_open(self):
        others = sum(namespace != NAMESPACE for namespace, _ in PODS.values())
        self.assertEqual(len(Matrix(rendered("open-network")).open()), (len(PODS) ** 2 - others**2) * len(PORTS))

    def test_the_operator_reaches_names_the_api_server_and_servers_of_others(self):
        def ports(flavour):
            egress = one(rendered(flavour), "NetworkPolicy", "docket-operator")["spec"]["egress"]
            return [sorted(p["port"] for p in rule["ports"] if p["protocol"] == "TCP") for rule in egress]

        self.assertEqual(ports("default"), [[53, 5353], [443, 6443], [4222]])
        self.assertEqual(ports("external-nats"), [[53, 5353], [443, 6443], [4443]])


if __name__ == "__main__":
    unittest.main()
