"""What the checks of charts and configuration share: the programs, what Helm renders, reading YAML strictly."""

import functools
import os
import pathlib
import shutil
import subprocess
import unittest

import yaml

ROOT = pathlib.Path(__file__).resolve().parents[2]
CACHE = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache") / "docket"
HELM = os.environ.get("HELM", "helm")
NAMESPACE = "docket-system"
# Charts ask for a version that Helm alone does not know.
KUBERNETES = ["--kube-version", "1.34.0"]

# The ways to install, by the values that make them.
FLAVOURS = {
    "default": [],
    "one-server": ["nats.replicas=1", "nats.storage.type=EmptyDir", "operator.replicas=1"],
    "external-nats": ["nats.enabled=false", "nats.url=tls://nats.example.com:4443", "nats.auth.existingSecret=nats-user"],
    "existing-keys": ["nats.auth.mode=Accounts", "nats.auth.existingSecret=my-keys"],
    "password": ["nats.auth.mode=Password"],
    "password-one-server": ["nats.auth.mode=Password", "nats.replicas=1"],
    "password-existing": ["nats.auth.mode=Password", "nats.auth.existingSecret=mine"],
    "accounts-external": ["nats.auth.mode=Accounts", "nats.enabled=false", "nats.url=nats://nats.example.com:4222"],
    "s3": ["payloads.url=s3://bucket/docket", "payloads.secret=s3-keys"],
    "namespaced": ["scope=Namespaced", "watchNamespaces={team-a,team-b}"],
    "namespaced-own": ["scope=Namespaced"],
    "opt-ins": ["rbac.tokenReview.enabled=true", "rbac.tokenReview.namespaces={team-a}"],
    "namespaced-opt-ins": ["scope=Namespaced", "rbac.tokenReview.enabled=true"],
    "monitored": [
        "monitoring.podMonitor.enabled=true",
        "monitoring.podMonitor.labels.release=prometheus",
        "monitoring.podMonitor.interval=45s",
        "monitoring.prometheusRule.enabled=true",
        "monitoring.dashboard.enabled=true",
        "monitoring.scrapeAnnotations=true",
        "networkPolicy.metricsFrom[0].namespaceSelector.matchLabels.kubernetes\\.io/metadata\\.name=monitoring",
    ],
    "placed": [
        "operator.nodeSelector.disk=ssd",
        "operator.tolerations[0].operator=Exists",
        "operator.affinity.podAffinity.requiredDuringSchedulingIgnoredDuringExecution[0].topologyKey=zone",
        "operator.priorityClassName=high",
        "operator.podAnnotations.a=b",
        "operator.podLabels.c=d",
        "operator.env.RUST_BACKTRACE=full",
        "nats.nodeSelector.disk=ssd",
        "nats.priorityClassName=high",
        "nats.podAnnotations.a=b",
        "nats.storage.storageClassName=fast",
        "imagePullSecrets[0].name=registry",
        "image.agents.pullSecrets={registry,mirror}",
    ],
    "keda": ["keda.enabled=true"],
    "open-metrics": ["metrics.authentication=false", "monitoring.podMonitor.enabled=true"],
    "password-open-metrics": ["nats.auth.mode=Password", "metrics.authentication=false"],
    "open-network": ["networkPolicy.enabled=false"],
}


class Strict(yaml.SafeLoader):
    """Two equal keys in one mapping are an error: YAML as it is mostly read takes the last one and says nothing."""


def _mapping(loader, node, deep=False):
    keys = [loader.construct_object(key, deep=True) for key, _ in node.value]
    twice = {key for key in keys if keys.count(key) > 1}
    if twice:
        raise yaml.constructor.ConstructorError(None, None, f"twice in one mapping: {twice}", node.start_mark)
    return yaml.SafeLoader.construct_mapping(loader, node, deep)


Strict.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)


def documents(text):
    """The objects of a text of several YAML documents."""
    return [document for document in yaml.load_all(text, Loader=Strict) if document]


def read(path):
    return documents((ROOT / path).read_text())


def run(*command, **options):
    """A program to its end; its output is in the result, whatever came of it."""
    return subprocess.run([str(word) for word in command], capture_output=True, text=True, **options)


def template(chart, settings=(), arguments=()):
    """`helm template` with `--set` for each setting, to its end."""
    sets = [word for setting in settings for word in ("--set", setting)]
    return run(HELM, "template", "docket", ROOT / "charts" / chart, "--namespace", NAMESPACE, *KUBERNETES, *sets, *arguments)


@functools.cache
def rendered(flavour):
    """The objects of a way to install, without those that `helm test` makes."""
    result = template("docket", FLAVOURS[flavour], ["--no-hooks"])
    assert result.returncode == 0, f"{flavour}: {result.stderr}"
    return documents(result.stdout)


def one(objects, kind, name):
    found = [o for o in objects if o["kind"] == kind and o["metadata"]["name"] == name]
    assert len(found) == 1, f"{len(found)} objects {kind}/{name}"
    return found[0]


def of_kind(objects, *kinds):
    return [o for o in objects if o["kind"] in kinds]


def pod_template(workload):
    return workload["spec"]["template"]


def environment(container):
    """The plain variables of a container; None stands for those from elsewhere."""
    return {variable["name"]: variable.get("value") for variable in container.get("env", [])}


def kubectl():
    """The test cluster's, or one on the path; the test skips without."""
    program = os.environ.get("KUBECTL") or shutil.which("kubectl", path=CACHE / "kubernetes/bin") or shutil.which("kubectl")
    if not program:
        raise unittest.SkipTest("kubectl is not here; e2e/cluster/binaries.sh builds it")
    return program


def built(folder):
    """The objects of a kustomization."""
    result = run(kubectl(), "kustomize", ROOT / folder)
    assert result.returncode == 0, result.stderr
    return documents(result.stdout)
