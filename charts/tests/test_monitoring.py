"""Alerts and dashboard ask for metrics that there are, and the alerts go off when they should."""

import json
import os
import re
import unittest

from support import ROOT, documents, environment, of_kind, one, pod_template, read, rendered, run, template

PROMTOOL = os.environ.get("PROMTOOL")
ALERTS = "config/alerts/docket.yaml"
METRIC = re.compile(r"\b(docket_[a-z0-9_]+|process_[a-z0-9_]+)\b")
SUFFIXES = ("_bucket", "_sum", "_count")


def known_metrics():
    """The metrics that the manual lists, and those that the kernel knows."""
    manual = (ROOT / "docs/running-distributed.md").read_text().split("\n## Metrics\n")[1].split("\n## ")[0]
    return set(re.findall(r"`(docket_[a-z0-9_]+)`", manual)) | PROCESS


# From the kernel, by the client library.
PROCESS = {"process_resident_memory_bytes", "process_cpu_seconds_total"}


def asked_for(expression):
    for name in METRIC.findall(expression):
        suffix = next((suffix for suffix in SUFFIXES if name.endswith(suffix)), "")
        yield name.removesuffix(suffix)


def rules():
    return [rule for group in read(ALERTS)[0]["groups"] for rule in group["rules"]]


def panels():
    dashboard = json.loads((ROOT / "config/grafana/docket.json").read_text())
    return dashboard, [panel for panel in dashboard["panels"] if panel["type"] != "row"]


class Manual(unittest.TestCase):
    def test_it_lists_every_metric_of_the_operator_and_none_that_it_does_not_have(self):
        made = set(re.findall(r'"(docket_[a-z0-9_]+)"', (ROOT / "operator/src/metrics.rs").read_text()))
        self.assertGreater(len(made), 10)
        manual = (ROOT / "docs/running-distributed.md").read_text().split("\n### Of the operator\n")[1].split("\n#")[0]
        self.assertEqual(made, set(re.findall(r"`(docket_[a-z0-9_]+)`", manual)))


class Alerts(unittest.TestCase):
    def test_rules_ask_for_metrics_and_records_that_there_are(self):
        records = {rule["record"] for rule in rules() if "record" in rule}
        for rule in rules():
            for name in asked_for(rule["expr"]):
                self.assertIn(name, known_metrics(), rule)
            for name in re.findall(r"\bdocket:[a-z0-9_:]+", rule["expr"]):
                self.assertIn(name, records, rule)

    def test_every_alert_says_what_is_wrong_and_what_to_do_and_is_tested(self):
        tested = {case["alertname"] for t in read("config/alerts/docket.test.yaml")[0]["tests"] for case in t.get("alert_rule_test", [])}
        for rule in rules():
            if "alert" in rule:
                self.assertEqual(set(rule["annotations"]), {"summary", "description"}, rule)
                self.assertIn(rule["labels"]["severity"], {"warning", "critical"}, rule)
                self.assertIn(rule["alert"], tested)

    def test_prometheus_takes_the_rules_and_they_go_off_as_they_should(self):
        if not PROMTOOL:
            self.skipTest("promtool is not here; scripts/promtool.sh gets it")
        for command in [["check", "rules", "--lint-fatal", "docket.yaml"], ["test", "rules", "docket.test.yaml"]]:
            result = run(PROMTOOL, *command, cwd=ROOT / "config/alerts")
            self.assertEqual(result.returncode, 0, result.stdout + result.stderr)

    def test_the_chart_ships_the_rules_as_they_are(self):
        rule = one(rendered("monitored"), "PrometheusRule", "docket")
        self.assertEqual(rule["spec"], read(ALERTS)[0])


class Dashboard(unittest.TestCase):
    def test_panels_ask_for_metrics_that_there_are(self):
        _, found = panels()
        self.assertGreater(len(found), 20)
        for panel in found:
            for target in panel["targets"]:
                names = list(asked_for(target["expr"]))
                self.assertTrue(names, panel["title"])
                for name in names:
                    self.assertIn(name, known_metrics(), panel["title"])

    def test_pools_of_the_same_name_are_not_taken_for_one(self):
        _, found = panels()
        targets = [target for panel in found for target in panel["targets"]]
        of_pools = [target for target in targets if "{{pool}}" in target.get("legendFormat", "") or re.search(r"by \([^)]*\bpool\b", target["expr"])]
        self.assertGreater(len(of_pools), 5)
        for target in of_pools:
            for labels in re.findall(r"by \(([^)]*\bpool\b[^)]*)\)", target["expr"]):
                self.assertIn("namespace", labels.split(", "), target["expr"])
            if "{{pool}}" in target.get("legendFormat", ""):
                self.assertIn("{{namespace}}/{{pool}}", target["legendFormat"])

    def test_prometheus_takes_every_expression(self):
        if not PROMTOOL:
            self.skipTest("promtool is not here; scripts/promtool.sh gets it")
        _, found = panels()
        expressions = [target["expr"] for panel in found for target in panel["targets"]]
        group = {"name": "dashboard", "rules": []}
        for number, expression in enumerate(expressions):
            plain = expression.replace("$__rate_interval", "5m")
            group["rules"].append({"record": f"panel:{number}", "expr": plain})
        result = run(PROMTOOL, "check", "rules", "/dev/stdin", input=json.dumps({"groups": [group]}))
        self.assertEqual(result.returncode, 0, result.stdout + result.stderr)

    def test_panels_are_numbered_once_and_do_not_overlap(self):
        dashboard, _ = panels()
        numbers = [panel["id"] for panel in dashboard["panels"]]
        self.assertEqual(len(numbers), len(set(numbers)))
        taken = set()
        for panel in dashboard["panels"]:
            place = panel["gridPos"]
            cells = {(place["x"] + i, place["y"] + j) for i in range(place["w"]) for j in range(place["h"])}
            self.assertFalse(cells & taken, panel["title"])
            self.assertLessEqual(place["x"] + place["w"], 24)
            taken |= cells

    def test_the_chart_ships_the_dashboard_as_it_is(self):
        config = one(rendered("monitored"), "ConfigMap", "docket-dashboard")
        self.assertEqual(config["metadata"]["labels"]["grafana_dashboard"], "1")
        self.assertEqual(json.loads(config["data"]["docket.json"]), panels()[0])


class PodMonitors(unittest.TestCase):
    def test_the_operator_is_scraped_and_it_labels_what_it_makes_alike(self):
        [monitor] = of_kind(rendered("monitored"), "PodMonitor")
        self.assertEqual(monitor["metadata"]["name"], "docket-operator")
        self.assertEqual(monitor["metadata"]["labels"]["release"], "prometheus")
        self.assertEqual(monitor["spec"]["podMetricsEndpoints"][0]["port"], "health")
        variables = operator("monitored")[1]
        self.assertEqual(variables["DOCKET_POD_MONITOR_LABELS"], "release=prometheus")
        self.assertEqual(variables["DOCKET_POD_MONITOR_INTERVAL"], monitor["spec"]["podMetricsEndpoints"][0]["interval"])
        self.assertEqual(variables["DOCKET_POD_MONITOR_INTERVAL"], "45s")
        self.assertEqual(of_kind(rendered("default"), "PodMonitor", "PrometheusRule"), [])

    def test_it_is_scraped_with_the_token_of_the_secret_that_it_mounts(self):
        [monitor] = of_kind(rendered("monitored"), "PodMonitor")
        credentials = {"name": "docket-operator-metrics", "key": "token"}
        authorization = {"type": "Bearer", "credentials": credentials}
        self.assertEqual(monitor["spec"]["podMetricsEndpoints"][0]["authorization"], authorization)
        spec, variables = operator("monitored")
        self.assertEqual(variables["DOCKET_METRICS_SECRET"], credentials["name"])
        [volume], [mount] = spec["volumes"], spec["containers"][0]["volumeMounts"]
        # The operator makes it: its pod may not wait for it.
        self.assertEqual(volume["secret"], {"secretName": credentials["name"], "optional": True})
        self.assertEqual((mount["name"], mount["readOnly"]), (volume["name"], True))
        self.assertEqual(variables["DOCKET_METRICS_TOKEN_FILE"], f"{mount['mountPath']}/{credentials['key']}")

    def test_without_authentication_nobody_asks_for_a_token(self):
        [monitor] = of_kind(rendered("open-metrics"), "PodMonitor")
        self.assertNotIn("authorization", monitor["spec"]["podMetricsEndpoints"][0])
        spec, variables = operator("open-metrics")
        self.assertNotIn("volumes", spec)
        self.assertFalse([name for name in variables if "METRICS" in name])


class ScrapeAnnotations(unittest.TestCase):
    def test_annotations_of_ones_own_stand_in_for_those_of_the_same_name(self):
        own = ["operator.podAnnotations.prometheus\\.io/path=/own", "operator.podAnnotations.a=b"]
        objects = documents(template("docket", ["monitoring.scrapeAnnotations=true", *own]).stdout)
        annotations = pod_template(one(objects, "Deployment", "docket-operator"))["metadata"]["annotations"]
        self.assertEqual(annotations.pop("kubectl.kubernetes.io/default-container"), "operator")
        wanted = {"prometheus.io/scrape": "true", "prometheus.io/port": "9090", "prometheus.io/path": "/own", "a": "b"}
        self.assertEqual(annotations, wanted)


def operator(flavour):
    """The operator's pod and what it is told."""
    spec = pod_template(one(rendered(flavour), "Deployment", "docket-operator"))["spec"]
    return spec, environment(spec["containers"][0])


if __name__ == "__main__":
    unittest.main()
