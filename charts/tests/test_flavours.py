"""Each way to install renders, and into what it should."""

import pathlib
import shutil
import tempfile
import textwrap
import unittest

from support import FLAVOURS, HELM, KUBERNETES, NAMESPACE, ROOT, documents, environment, of_kind, one, pod_template
from support import read, rendered, run, template

CLUSTER_WIDE = {"ClusterRole", "ClusterRoleBinding", "CustomResourceDefinition"}


def operator_environment(flavour):
    deployment = one(rendered(flavour), "Deployment", "docket-operator")
    return environment(pod_template(deployment)["spec"]["containers"][0])


class Charts(unittest.TestCase):
    def test_helm_finds_nothing_to_complain_about(self):
        for chart in ["docket-crds", "docket"]:
            result = run(HELM, "lint", "--strict", ROOT / "charts" / chart, *KUBERNETES)
            self.assertEqual(result.returncode, 0, result.stdout + result.stderr)

    def test_every_flavour_renders_each_object_once_and_where_it_belongs(self):
        for flavour in FLAVOURS:
            seen = set()
            for o in rendered(flavour):
                meta = o["metadata"]
                name = (o["kind"], meta.get("namespace"), meta["name"])
                self.assertNotIn(name, seen, flavour)
                seen.add(name)
                self.assertEqual("namespace" not in meta, o["kind"] in CLUSTER_WIDE, f"{flavour}: {name}")
                self.assertEqual(meta["labels"]["app.kubernetes.io/part-of"], "docket", f"{flavour}: {name}")

    def test_nothing_is_written_that_the_api_server_would_leave_out(self):
        def check(value, path):
            if isinstance(value, dict) and value:
                for key, child in value.items():
                    check(child, f"{path}.{key}")
            elif isinstance(value, list) and value:
                for child in value:
                    check(child, f"{path}[]")
            elif not path.endswith(("odSelector", "namespaceSelector")):
                # Such as an empty list: tools that compare would find a difference for ever.
                self.assertNotIn(value, [None, [], {}], path)

        for flavour in FLAVOURS:
            for o in rendered(flavour):
                check(o, f"{flavour} {o['kind']}/{o['metadata']['name']}")

    def test_two_releases_share_a_cluster(self):
        names = []
        for namespace in ["first", "second"]:
            result = run(HELM, "template", "docket", ROOT / "charts/docket", "--namespace", namespace, *KUBERNETES)
            names.append({o["metadata"]["name"] for o in documents(result.stdout) if o["kind"] in CLUSTER_WIDE})
        self.assertTrue(names[0])
        self.assertEqual(names[0] & names[1], set())

    def test_the_resource_types_are_those_of_the_api_and_stay(self):
        result = template("docket-crds")
        made = {o["metadata"]["name"]: o for o in documents(result.stdout)}
        self.assertEqual(set(made), {"agentpools.docket.dev", "pipelines.docket.dev"})
        for name, definition in made.items():
            self.assertEqual(definition["spec"], read(f"config/crd/{name}.yaml")[0]["spec"])
            self.assertEqual(definition["metadata"]["annotations"]["helm.sh/resource-policy"], "keep")
        free = documents(template("docket-crds", ["keep=false", "annotations.a=b"]).stdout)
        for definition in free:
            self.assertEqual(definition["metadata"]["annotations"], {"a": "b"})

    def test_the_charts_versions_are_the_workspaces(self):
        workspace = (ROOT / "Cargo.toml").read_text().split('[workspace.package]\nversion = "')[1].split('"')[0]
        for chart in ["docket-crds", "docket"]:
            description = read(f"charts/{chart}/Chart.yaml")[0]
            self.assertEqual((description["version"], description["appVersion"]), (workspace, workspace))
        nats = (ROOT / "scripts/nats-server.sh").read_text().split("\nversions=(")[1].split()[0]
        self.assertEqual(read("charts/docket/values.yaml")[0]["image"]["nats"]["tag"], nats)

    def test_the_notes_fit_what_was_installed(self):
        self.assertIn("of every namespace", notes())
        self.assertIn("helm test docket --namespace default", notes())
        self.assertIn("Pipelines of: a, b.", notes("scope=Namespaced", "watchNamespaces={a,b}"))
        self.assertIn("Role goes with it", notes("scope=Namespaced"))
        self.assertNotIn("Role goes with it", notes())
        self.assertIn("NATS has one server", notes("nats.replicas=1"))
        self.assertNotIn("NATS has one server", notes())
        self.assertIn("for trying out", notes("nats.storage.type=EmptyDir"))
        self.assertIn("whoever reaches", notes("nats.enabled=false", "nats.url=nats://n"))
        self.assertIn("monitoring port", notes("networkPolicy.enabled=false"))
        self.assertIn("copy of the Secret docket-nats-keys", notes())
        self.assertNotIn("Keep a copy", notes("nats.auth.mode=Password"))

    def test_the_notes_say_where_nobody_can_read_the_metrics(self):
        closed, unauthorized = "metricsFrom is empty", "annotations carry no token"
        self.assertNotIn(closed, notes())
        self.assertIn(closed, notes("monitoring.podMonitor.enabled=true"))
        self.assertIn(closed, notes("monitoring.scrapeAnnotations=true"))
        self.assertNotIn(closed, notes("monitoring.podMonitor.enabled=true", "networkPolicy.enabled=false"))
        self.assertNotIn(closed, notes(*FLAVOURS["monitored"]))
        self.assertIn(unauthorized, notes("monitoring.scrapeAnnotations=true"))
        self.assertNotIn(unauthorized, notes("monitoring.scrapeAnnotations=true", "metrics.authentication=false"))
        self.assertNotIn(unauthorized, notes("monitoring.podMonitor.enabled=true"))


def notes(*settings):
    """NOTES.txt, which Helm renders only in sight of a cluster: here as a template like the others."""
    with tempfile.TemporaryDirectory() as folder:
        chart = pathlib.Path(folder) / "docket"
        shutil.copytree(ROOT / "charts/docket", chart)
        text = textwrap.indent((chart / "templates/NOTES.txt").read_text(), "  ")
        (chart / "templates/notes.yaml").write_text(f"notes: |\n{text}")
        sets = [word for setting in settings for word in ("--set", setting)]
        result = run(HELM, "template", "docket", chart, *KUBERNETES, *sets, "--show-only", "templates/notes.yaml")
        assert result.returncode == 0, result.stderr
        return documents(result.stdout)[0]["notes"]


class Operator(unittest.TestCase):
    def test_it_is_told_what_the_values_say(self):
        told = operator_environment("default")
        self.assertEqual(
            told,
            {
                "POD_NAME": None,
                "POD_NAMESPACE": None,
                "DOCKET_AGENT_IMAGE": "registry.local/docket:0.1.0",
                "DOCKET_IMAGE_PULL_POLICY": "IfNotPresent",
                "DOCKET_NATS": "nats://docket-nats.$(POD_NAMESPACE).svc:4222",
                "DOCKET_NATS_REPLICAS": "3",
                "DOCKET_NATS_KEYS_SECRET": "docket-nats-keys",
                "DOCKET_PAYLOADS": "nats:",
                "DOCKET_MODELS_IN_IMAGE": "false",
                "DOCKET_GATEWAY_REPLICAS": "1",
                "DOCKET_LEASE_NAME": "docket-operator",
                "DOCKET_HEALTH": "0.0.0.0:9090",
                "DOCKET_METRICS_SECRET": "docket-operator-metrics",
                "DOCKET_METRICS_TOKEN_FILE": "/etc/docket-metrics/token",
                "DOCKET_POD_MONITOR_INTERVAL": "30s",
                "DOCKET_LOG_FORMAT": "json",
                "RUST_LOG": "info",
            },
        )

    def test_further_variables_and_labels_are_taken(self):
        self.assertEqual(operator_environment("placed")["RUST_BACKTRACE"], "full")
        self.assertEqual(pod_template(one(rendered("placed"), "Deployment", "docket-operator"))["metadata"]["labels"]["c"], "d")

    def test_no_variable_is_set_twice(self):
        for flavour in FLAVOURS:
            deployment = one(rendered(flavour), "Deployment", "docket-operator")
            names = [variable["name"] for variable in pod_template(deployment)["spec"]["containers"][0]["env"]]
            self.assertEqual(len(names), len(set(names)), flavour)

    def test_a_variable_is_defined_before_one_that_contains_it(self):
        names = list(operator_environment("default"))
        self.assertLess(names.index("POD_NAMESPACE"), names.index("DOCKET_NATS"))

    def test_it_is_told_what_agents_are_pulled_with_only_where_something_is_named(self):
        self.assertEqual(operator_environment("placed")["DOCKET_IMAGE_PULL_SECRETS"], "registry,mirror")
        self.assertNotIn("DOCKET_IMAGE_PULL_SECRETS", operator_environment("default"))

    def test_it_is_told_of_its_namespaces_only_where_it_has_some(self):
        self.assertEqual(operator_environment("namespaced")["DOCKET_WATCH_NAMESPACES"], "team-a,team-b")
        self.assertEqual(operator_environment("namespaced-own")["DOCKET_WATCH_NAMESPACES"], NAMESPACE)
        self.assertNotIn("DOCKET_WATCH_NAMESPACES", operator_environment("default"))

    def test_it_is_told_to_let_gateways_review_tokens_where_they_may(self):
        for flavour, namespaces in [("opt-ins", "team-a"), ("namespaced-opt-ins", NAMESPACE)]:
            told = operator_environment(flavour)
            self.assertEqual((told["DOCKET_TOKEN_REVIEW"], told["DOCKET_API_SERVER_PORTS"]), (namespaces, "443,6443"), flavour)

    def test_it_is_told_of_servers_and_stores_of_others(self):
        external = operator_environment("external-nats")
        self.assertEqual(external["DOCKET_NATS"], "tls://nats.example.com:4443")
        self.assertEqual(external["DOCKET_NATS_CREDENTIALS_SECRET"], "nats-user")
        own = of_kind(rendered("external-nats"), "StatefulSet", "Service", "Secret")
        self.assertEqual([o["metadata"]["name"] for o in own], ["docket-operator"])
        s3 = operator_environment("s3")
        self.assertEqual((s3["DOCKET_PAYLOADS"], s3["DOCKET_PAYLOADS_SECRET"]), ("s3://bucket/docket", "s3-keys"))

    def test_a_budget_protects_several_and_does_not_block_a_single_one(self):
        names = {o["metadata"]["name"] for o in of_kind(rendered("default"), "PodDisruptionBudget")}
        self.assertEqual(names, {"docket-operator", "docket-nats"})
        self.assertEqual(of_kind(rendered("one-server"), "PodDisruptionBudget"), [])

    def test_where_it_runs_can_be_said(self):
        for kind, name in [("Deployment", "docket-operator"), ("StatefulSet", "docket-nats")]:
            pod = pod_template(one(rendered("placed"), kind, name))
            self.assertEqual(pod["spec"]["nodeSelector"], {"disk": "ssd"})
            self.assertEqual(pod["spec"]["priorityClassName"], "high")
            self.assertEqual(pod["spec"]["imagePullSecrets"], [{"name": "registry"}])
            self.assertEqual(pod["metadata"]["annotations"]["a"], "b")


if __name__ == "__main__":
    unittest.main()
