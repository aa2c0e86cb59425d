"""Values that are wrong are refused with a word on which and why; the schema and values.yaml name the same ones."""

import json
import unittest

from support import ROOT, read, template

PEER = "networkPolicy.metricsFrom[0]"
# A setting, and what the refusal must say.
REFUSED = [
    (["scop=Cluster"], "scop"),
    (["operator.replica=2"], "replica"),
    (["operator.replicas=0"], "operator/replicas"),
    (["operator.replicas=many"], "operator/replicas"),
    (["scope=Everything"], "scope"),
    (["watchNamespaces={team-a}"], "watchNamespaces"),
    (["scope=Namespaced", "watchNamespaces={Team A}"], "watchNamespaces"),
    (["scope=Namespaced", "watchNamespaces={a,a}"], "watchNamespaces"),
    (["nats.replicas=2"], "nats/replicas"),
    (["nats.replicas=5"], "nats.replicas"),
    (["nats.enabled=false"], "nats.url"),
    (["nats.url=nats://elsewhere:4222"], "nats.url"),
    (["nats.enabled=false", "nats.url=http://elsewhere"], "nats/url"),
    (["nats.enabled=false", "nats.url=nats://user:secret@elsewhere"], "nats/url"),
    (["nats.enabled=false", "nats.url=nats://elsewhere:99999"], "nats/url"),
    (["nats.enabled=false", "nats.url=nats://a:4222\\,nats://b:0"], "nats/url"),
    (["nats.storage.type=HostPath"], "nats/storage/type"),
    (["nats.storage.size=20GB"], "nats/storage/size"),
    (["nats.storage.size=0Gi"], "nats/storage/size"),
    (["nats.auth.existingSecret=Not A Name"], "existingSecret"),
    (["nats.auth.existingSecret=mine"], "nats.auth.mode"),
    (["nats.auth.mode=Token"], "nats/auth/mode"),
    (["nats.resources.limits=null"], "nats/resources"),
    (["operator.resources.limits.memory=null"], "operator/resources/limits"),
    (["operator.resources.limits.memory=lots"], "operator/resources/limits/memory"),
    (["payloads.url=file:///data"], "payloads/url"),
    (["payloads.url=s3://"], "payloads/url"),
    (["payloads.secret=keys"], "payloads.secret"),
    (["payloads.url=s3://bucket", "payloads.secret=docket-payloads"], "payloads.secret: docket-payloads is the name of a Secret"),
    (["payloads.url=s3://bucket", "payloads.secret=docket-metrics"], "payloads.secret: docket-metrics is the name of a Secret"),
    (["nats.auth.mode=Password", "nats.auth.existingSecret=docket-nats"], "existingSecret: docket-nats is the name of a Secret"),
    (["nats.auth.mode=Accounts", "nats.auth.existingSecret=docket-gateway-tokens"], "give yours another name"),
    (["podSecurity.fixedIds=sometimes"], "podSecurity/fixedIds"),
    (["image.operator.repository="], "image/operator/repository"),
    (["image.operator.tag=not a tag"], "image/operator/tag"),
    (["image.nats.tag="], "image/nats/tag"),
    (["image.agents.pullSecrets={Not A Name}"], "image/agents/pullSecrets"),
    (["image.nats.pullSecrets={registry}"], "pullSecrets"),
    (["image.nats.pullPolicy=Sometimes"], "image/nats/pullPolicy"),
    (["rbac.tokenReview.enabled=true"], "rbac.tokenReview.namespaces"),
    (["rbac.everything=true"], "everything"),
    (["networkPolicy.apiServer.ports={}"], "networkPolicy/apiServer/ports"),
    (["networkPolicy.apiServer.ports={70000}"], "networkPolicy/apiServer/ports"),
    (["networkPolicy.natsCidrs={10.0.0.1}"], "networkPolicy/natsCidrs"),
    (["networkPolicy.natsCidrs={1.2.3.4/99}"], "networkPolicy/natsCidrs"),
    (["networkPolicy.apiServer.cidrs={fd00::/129}"], "networkPolicy/apiServer/cidrs"),
    ([f"{PEER}.ipBlock.cidr=10.0.0.0/8", f"{PEER}.podSelector.matchLabels.a=b"], "networkPolicy/metricsFrom"),
    (["networkPolicy.metricsFrom[0].from=everywhere"], "networkPolicy/metricsFrom"),
    (["metrics.authentication=sometimes"], "metrics/authentication"),
    (["monitoring.podMonitor.interval=often"], "monitoring/podMonitor/interval"),
    (["operator.logFormat=xml"], "operator/logFormat"),
    (["keda.namespace=Not A Name"], "keda/namespace"),
    (["monitoring.podMonitor.interval=30s1m"], "monitoring/podMonitor/interval"),
    (["operator.env.NOT-A-NAME=x"], "NOT-A-NAME"),
    # A number is written in a form of its own from a million on.
    (["operator.env.LIMIT=1000000"], "operator/env/LIMIT"),
    (["operator.env.SWITCH=true"], "operator/env/SWITCH"),
    # These are set already, and a name that is there twice is refused by the API server or counts in one of both ways.
    (["operator.env.RUST_LOG=debug"], "RUST_LOG"),
    (["operator.env.DOCKET_NATS=nats://elsewhere:4222"], "DOCKET_NATS"),
    (["operator.env.POD_NAMESPACE=elsewhere"], "POD_NAMESPACE"),
    (["operator.podLabels.app\\.kubernetes\\.io/name=mine"], "app.kubernetes.io/name"),
    (["operator.podLabels.app\\.kubernetes\\.io/component=mine"], "app.kubernetes.io/component"),
    (["operator.podAnnotations.kubectl\\.kubernetes\\.io/default-container=mine"], "kubectl.kubernetes.io/default-container"),
    (["nats.podAnnotations.docket\\.dev/servers=5"], "docket.dev/servers"),
    (["monitoring.podMonitor.labels.app\\.kubernetes\\.io/managed-by=me"], "app.kubernetes.io/managed-by"),
    (["monitoring.dashboard.labels.app\\.kubernetes\\.io/part-of=mine"], "app.kubernetes.io/part-of"),
]

# What is at the edge of what is refused.
TAKEN = [
    ["nats.enabled=false", "nats.url=nats://a:65535\\,tls://[fd00::1]:4222\\,nats://c"],
    ["networkPolicy.natsCidrs={1.2.3.4/32,0.0.0.0/0,fd00::/128,::/0}"],
    [f"{PEER}.ipBlock.cidr=10.0.0.0/8"],
    [f"{PEER}.namespaceSelector.matchLabels.a=b", f"{PEER}.podSelector.matchLabels.a=b"],
    ["operator.resources.limits.cpu=null", "nats.resources.limits.cpu=null"],
]


def leaves(values, path=()):
    """The paths of all values but those below maps that are the user's."""
    for key, value in values.items():
        yield (*path, key)
        if isinstance(value, dict):
            yield from leaves(value, (*path, key))


class Values(unittest.TestCase):
    def test_wrong_values_are_refused_by_name(self):
        for settings, said in REFUSED:
            with self.subTest(settings=settings):
                result = template("docket", settings)
                self.assertNotEqual(result.returncode, 0, "it was taken")
                # Dots or slashes, as the version of Helm has it.
                self.assertIn(said.replace("/", "."), result.stderr.replace("/", "."))

    def test_what_is_just_right_is_taken(self):
        for settings in TAKEN:
            result = template("docket", settings)
            self.assertEqual(result.returncode, 0, f"{settings}: {result.stderr}")

    def test_wrong_values_of_the_resource_types_are_refused(self):
        for setting in ["kep=true", "keep=maybe", "annotations.a=1"]:
            self.assertNotEqual(template("docket-crds", [setting]).returncode, 0, setting)

    def test_every_value_that_may_be_set_has_a_default(self):
        schema = json.loads((ROOT / "charts/docket/values.schema.json").read_text())
        values = read("charts/docket/values.yaml")[0]
        there = set(leaves(values))

        def check(part, path):
            part = schema["definitions"][part["$ref"].rsplit("/", 1)[1]] if "$ref" in part else part
            for name, child in part.get("properties", {}).items():
                # Helm's own: values that subcharts share.
                if name != "global":
                    self.assertIn((*path, name), there, "values.yaml does not have it")
                    check(child, (*path, name))

        check(schema, ())

    def test_every_map_of_fixed_names_is_closed(self):
        schema = json.loads((ROOT / "charts/docket/values.schema.json").read_text())

        def check(part, path):
            if isinstance(part, dict):
                if "properties" in part:
                    self.assertIs(part.get("additionalProperties"), False, path)
                for name, child in part.items():
                    check(child, f"{path}/{name}")

        check(schema, "")


if __name__ == "__main__":
    unittest.main()
