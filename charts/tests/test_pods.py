"""Every pod is of the kind that the restricted Pod Security Standard admits, and has bounds (SEC-03, SEC-10)."""

import unittest

from support import FLAVOURS, NAMESPACE, documents, environment, of_kind, one, pod_template, rendered, template

WORKLOADS = ("Deployment", "StatefulSet", "DaemonSet", "Job", "CronJob", "Pod")
# Volumes that "restricted" admits.
VOLUMES = {"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret"}


def pods(flavour):
    """Name, labels and spec of every pod that the flavour makes."""
    for o in of_kind(rendered(flavour), *WORKLOADS):
        template = o if o["kind"] == "Pod" else pod_template(o)
        yield o["metadata"]["name"], template["metadata"]["labels"], template["spec"]


def containers(spec):
    return spec.get("initContainers", []) + spec["containers"]


class Pods(unittest.TestCase):
    def every(self, check):
        """Calls `check` with the name and spec of each pod of each flavour, and tells which ones fail."""
        for flavour in FLAVOURS:
            for name, _, spec in pods(flavour):
                with self.subTest(flavour=flavour, pod=name):
                    check(name, spec)

    def test_nothing_of_the_node_is_shared(self):
        def check(_, spec):
            for field in ["hostNetwork", "hostPID", "hostIPC", "hostUsers", "nodeName"]:
                self.assertNotIn(field, spec)
            for volume in spec.get("volumes", []):
                self.assertLessEqual(set(volume) - {"name"}, VOLUMES)
            for container in containers(spec):
                for port in container.get("ports", []):
                    self.assertNotIn("hostPort", port)

        self.every(check)

    def test_no_container_is_the_first_process_of_a_namespace(self):
        # It would miss the signal to end that comes while it starts.
        def check(name, spec):
            self.assertTrue(spec.get("shareProcessNamespace") or spec.get("restartPolicy") == "Never", name)

        self.every(check)

    def test_pods_run_as_somebody_who_is_not_root(self):
        def check(_, spec):
            security = spec["securityContext"]
            self.assertTrue(security["runAsNonRoot"])
            self.assertGreaterEqual(security["runAsUser"], 1000)
            self.assertEqual(security["seccompProfile"], {"type": "RuntimeDefault"})

        self.every(check)

    def test_where_the_cluster_chooses_users_no_pod_names_one_and_none_is_root(self):
        result = template("docket", ["podSecurity.fixedIds=false"])
        pods = of_kind(documents(result.stdout), *WORKLOADS)
        self.assertEqual({o["kind"] for o in pods}, {"Deployment", "StatefulSet", "Pod"}, result.stderr)
        for o in pods:
            security = (o if o["kind"] == "Pod" else pod_template(o))["spec"]["securityContext"]
            self.assertTrue(security["runAsNonRoot"])
            self.assertEqual(set(security) & {"runAsUser", "runAsGroup", "fsGroup"}, set(), o["metadata"]["name"])
        operator = pod_template(one(pods, "Deployment", "docket-operator"))["spec"]["containers"][0]
        self.assertEqual(environment(operator)["DOCKET_FIXED_IDS"], "false")

    def test_containers_may_nothing_and_write_nowhere(self):
        def check(_, spec):
            for container in containers(spec):
                self.assertEqual(
                    container["securityContext"],
                    {
                        "allowPrivilegeEscalation": False,
                        "readOnlyRootFilesystem": True,
                        "runAsNonRoot": True,
                        "capabilities": {"drop": ["ALL"]},
                        "seccompProfile": {"type": "RuntimeDefault"},
                    },
                )

        self.every(check)

    def test_containers_have_bounds_and_probes(self):
        def check(_, spec):
            for container in containers(spec):
                for field in ["requests", "limits"]:
                    self.assertEqual(set(container["resources"][field]), {"cpu", "memory"})
                ports = {port["name"] for port in container["ports"]}
                for probe in ["startupProbe", "livenessProbe", "readinessProbe"]:
                    self.assertIn(container[probe]["httpGet"]["port"], ports)

        self.every(check)

    def test_only_the_operator_has_a_token(self):
        def check(name, spec):
            self.assertIs(spec["automountServiceAccountToken"], name == "docket-operator")
            self.assertNotEqual(spec["serviceAccountName"], "default")

        self.every(check)
        for flavour in FLAVOURS:
            for account in of_kind(rendered(flavour), "ServiceAccount"):
                self.assertIs(account["automountServiceAccountToken"], False)

    def test_volumes_in_memory_or_on_the_node_have_a_size(self):
        def check(_, spec):
            for volume in spec.get("volumes", []):
                if "emptyDir" in volume:
                    self.assertIn("sizeLimit", volume["emptyDir"], volume["name"])

        self.every(check)

    def test_selectors_find_their_pods(self):
        for flavour in FLAVOURS:
            objects = rendered(flavour)
            labels = {name: labels for name, labels, _ in pods(flavour)}
            for o in of_kind(objects, *WORKLOADS):
                wanted = o["spec"]["selector"]["matchLabels"]
                self.assertLessEqual(wanted.items(), labels[o["metadata"]["name"]].items())
            for o in of_kind(objects, "Service", "PodDisruptionBudget"):
                wanted = o["spec"]["selector"]
                wanted = wanted.get("matchLabels", wanted)
                self.assertEqual(sum(wanted.items() <= found.items() for found in labels.values()), 1, o["metadata"]["name"])

    def test_a_service_leads_to_a_port_that_is_there(self):
        for flavour in FLAVOURS:
            objects = rendered(flavour)
            for service in of_kind(objects, "Service"):
                kind = "Deployment" if service["metadata"]["name"] == "docket-operator" else "StatefulSet"
                name = "docket-operator" if kind == "Deployment" else "docket-nats"
                named = {p["name"] for p in pod_template(one(objects, kind, name))["spec"]["containers"][0]["ports"]}
                for port in service["spec"]["ports"]:
                    self.assertIn(port["targetPort"], named)


    def test_the_pod_of_a_test_may_no_more_than_others_and_asks_the_operator(self):
        objects = documents(template("docket", [], ["--show-only", "templates/tests/ready.yaml"]).stdout)
        pod = one(objects, "Pod", "docket-check")
        self.assertEqual(pod["metadata"]["annotations"]["helm.sh/hook"], "test")
        spec = pod["spec"]
        self.assertIs(spec["automountServiceAccountToken"], False)
        self.assertTrue(spec["securityContext"]["runAsNonRoot"])
        container = spec["containers"][0]
        self.assertEqual(container["securityContext"]["capabilities"], {"drop": ["ALL"]})
        self.assertTrue(container["securityContext"]["readOnlyRootFilesystem"])
        self.assertEqual(set(container["resources"]["limits"]), {"cpu", "memory"})
        self.assertIn(f"http://docket-operator.{NAMESPACE}.svc:9090/readyz", container["args"])

    def test_the_pod_of_a_test_runs_where_the_operator_may(self):
        objects = documents(template("docket", FLAVOURS["placed"]).stdout)
        check, operator = one(objects, "Pod", "docket-check")["spec"], pod_template(one(objects, "Deployment", "docket-operator"))["spec"]
        for field in ["nodeSelector", "tolerations", "affinity", "priorityClassName", "imagePullSecrets"]:
            self.assertEqual(check[field], operator[field], field)


if __name__ == "__main__":
    unittest.main()
