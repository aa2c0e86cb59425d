"""What ships for Argo CD and Flux: health checks, run by a Lua interpreter on objects as the operator writes them, and examples.

The operator's tests (health_checks.rs) write the objects, and evaluate what is for Flux on them.
"""

import json
import os
import pathlib
import shutil
import tempfile
import unittest

from support import HELM, KUBERNETES, NAMESPACE, ROOT, built, one, read, run, template

FOLDER = ROOT / "config/argocd/docket.dev"
STATUSES = {"Healthy", "Progressing", "Degraded", "Suspended"}
# What Argo CD gives a script: the object and the basic and table libraries, and no others.
HARNESS = """
local text = io.read("a")
local known = {ipairs = ipairs, pairs = pairs, tostring = tostring, type = type, table = table, obj = load("return " .. text)()}
getmetatable("").__index = nil
local script = assert(loadfile(arg[1], "t", known))
local answer = script()
io.write(answer.status, "\\n", answer.message or "")
"""


def lua():
    program = os.environ.get("LUA") or shutil.which("lua5.4")
    if not program:
        raise unittest.SkipTest("lua5.4 is not here; scripts/setup-cluster.sh charts installs it")
    return program


def table(value):
    """A value as Lua writes it."""
    match value:
        case None:
            return "nil"
        case bool():
            return str(value).lower()
        case int() | float():
            return repr(value)
        case list():
            return "{" + ",".join(table(v) for v in value) + "}"
        case dict():
            return "{" + ",".join(f"[{table(str(k))}]={table(v)}" for k, v in value.items()) + "}"
        case _:
            escaped = "".join(c if c.isalnum() else f"\\u{{{ord(c):x}}}" for c in str(value))
            return f'"{escaped}"'


def health(kind, o):
    result = run(lua(), "-e", HARNESS.replace("arg[1]", repr(str(FOLDER / kind / "health.lua"))), input=table(o))
    assert result.returncode == 0, result.stderr
    status, _, message = result.stdout.partition("\n")
    return status, message


class Health(unittest.TestCase):
    def test_each_object_is_as_healthy_as_is_written_beside_it(self):
        for kind in ["AgentPool", "Pipeline"]:
            tests = read(f"config/argocd/docket.dev/{kind}/health_test.yaml")[0]["tests"]
            for test in tests:
                with self.subTest(kind=kind, path=test["inputPath"]):
                    o = read(f"config/argocd/docket.dev/{kind}/{test['inputPath']}")[0]
                    self.assertEqual(o["kind"], kind)
                    wanted = test["healthStatus"]
                    self.assertEqual(health(kind, o), (wanted["status"], wanted["message"]))

    def test_every_object_is_tested_and_every_answer_comes_up(self):
        for kind, answers in [("AgentPool", STATUSES - {"Suspended"}), ("Pipeline", STATUSES)]:
            tests = read(f"config/argocd/docket.dev/{kind}/health_test.yaml")[0]["tests"]
            there = {f"testdata/{path.name}" for path in (FOLDER / kind / "testdata").iterdir()}
            self.assertEqual({test["inputPath"] for test in tests}, there)
            self.assertEqual({test["healthStatus"]["status"] for test in tests}, answers)

    def test_a_generation_that_was_not_seen_is_never_judged(self):
        for kind in ["AgentPool", "Pipeline"]:
            for path in (FOLDER / kind / "testdata").iterdir():
                o = read(path.relative_to(ROOT))[0]
                o["metadata"]["generation"] += 1
                self.assertEqual(health(kind, o)[0], "Progressing", path.name)


def values_fit(values):
    """The chart takes them."""
    command = [HELM, "template", "docket", ROOT / "charts/docket", *KUBERNETES, "--values", "-"]
    result = run(*command, input=json.dumps(values))
    assert result.returncode == 0, result.stderr


class ArgoCd(unittest.TestCase):
    def test_the_component_adds_the_scripts_to_its_configuration(self):
        with tempfile.TemporaryDirectory(dir=ROOT / "config") as folder:
            base = pathlib.Path(folder)
            (base / "argocd-cm.yaml").write_text(
                "{apiVersion: v1, kind: ConfigMap, metadata: {name: argocd-cm, namespace: argocd}, data: {url: https://a.example.com}}"
            )
            (base / "kustomization.yaml").write_text("{resources: [argocd-cm.yaml], components: [../argocd]}")
            data = one(built(base.relative_to(ROOT)), "ConfigMap", "argocd-cm")["data"]
        self.assertEqual(data["url"], "https://a.example.com")
        for kind in ["AgentPool", "Pipeline"]:
            script = (ROOT / f"config/argocd/docket.dev/{kind}/health.lua").read_text()
            self.assertEqual(data[f"resource.customizations.health.docket.dev_{kind}"].strip(), script.strip())

    def test_the_applications_set_values_that_there_are(self):
        applications = {o["metadata"]["name"]: o for o in read("config/argocd/applications.yaml")}
        values_fit(applications["docket"]["spec"]["source"]["helm"]["valuesObject"])

    def test_the_namespace_is_made_with_the_first_that_goes_into_it(self):
        applications = {o["metadata"]["name"]: o["spec"] for o in read("config/argocd/applications.yaml")}
        docket = applications["docket"]
        self.assertEqual(docket["destination"]["namespace"], NAMESPACE)
        # Argo CD makes none without being told, and a sync fails.
        self.assertIn("CreateNamespace=true", docket["syncPolicy"]["syncOptions"])
        labels = docket["syncPolicy"]["managedNamespaceMetadata"]["labels"]
        self.assertEqual(labels, {"pod-security.kubernetes.io/enforce": "restricted"})

    def test_each_rendering_is_the_same(self):
        # Argo CD sees a difference otherwise, for ever.
        first, second = (template("docket").stdout for _ in range(2))
        self.assertEqual(first, second)


class Flux(unittest.TestCase):
    def test_the_release_sets_values_that_there_are(self):
        releases = {o["metadata"]["name"]: o for o in read("config/flux/docket.yaml") if o["kind"] == "HelmRelease"}
        values_fit(releases["docket"]["spec"]["values"])

    def test_the_namespace_is_there_and_takes_what_the_standard_allows(self):
        namespace = one(read("config/flux/docket.yaml"), "Namespace", NAMESPACE)
        self.assertEqual(namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"], "restricted")


if __name__ == "__main__":
    unittest.main()
